package shortcut

import "testing"

// What a network has on one host is tested with its bridge and its device, in overlay.

func TestADeviceThatIsNotThereIsAnError(t *testing.T) {
	if s, err := New("", 1<<30); err == nil || s != nil {
		t.Errorf("New gave %v, %v", s, err)
	}
}
