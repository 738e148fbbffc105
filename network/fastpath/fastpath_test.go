package fastpath

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What it does with packets is tested with the published ports, in ingress.

func TestTheProgramsAreWhatTheSourceSays(t *testing.T) {
	source, err := os.ReadFile("fastpath.c")
	if err != nil {
		t.Fatal(err)
	}
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	var compiled [65]byte
	if err := spec.Variables["source"].Get(&compiled); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(source)); strings.TrimRight(string(compiled[:]), "\x00") != want {
		t.Error("fastpath.c has changed since it was compiled: run `make bpf`, and commit what that makes")
	}
}

func TestADeviceThatIsNotThereIsAnError(t *testing.T) {
	f, err := New("", Network{VXLAN: 1 << 30, Bridge: 1, Gateway: netip.MustParseAddr("10.0.0.1")})
	if f != nil || !errors.Is(err, unix.ENODEV) {
		t.Errorf("New gave %v, %v", f, err)
	}
}
