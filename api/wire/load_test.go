package wire

import (
	"testing"

	"github.com/swarmctl/swarmctl/api"
)

func TestLoadTravels(t *testing.T) {
	if l := DecodeLoad(EncodeLoad(&api.NodeLoad{CPU: 40, Memory: 7})); *l != (api.NodeLoad{CPU: 40, Memory: 7}) {
		t.Errorf("got %+v", l)
	}
	if DecodeLoad(EncodeLoad(nil)) != nil {
		t.Error("a node that has not said has a load")
	}
	if l := DecodeLoad(&NodeLoad{Cpu: 1 << 31, Memory: 300}); *l != (api.NodeLoad{CPU: 100, Memory: 100}) {
		t.Errorf("more than there is: %+v", l)
	}
}
