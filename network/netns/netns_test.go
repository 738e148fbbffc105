package netns_test

import (
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/swarmctl/swarmctl/network/netns"
	"github.com/swarmctl/swarmctl/network/netns/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m.Run)) }

func TestAFunctionRunsInAnotherNamespaceAndItsThreadComesBack(t *testing.T) {
	ns, err := sandbox.Namespace()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	home, there := where(t), ""
	var wg sync.WaitGroup
	for range 50 { // more than there are threads: a thread that stayed away would be seen
		wg.Go(func() {
			if err := netns.Do(sandbox.Path(ns), func() error { return nil }); err != nil {
				t.Error(err)
			}
			if at := where(t); at != home {
				t.Errorf("a goroutine is in %s, at home is %s", at, home)
			}
		})
	}
	wg.Wait()
	err = netns.Do(sandbox.Path(ns), func() error {
		there = where(t)
		return errors.New("of f")
	})
	if err == nil || err.Error() != "of f" {
		t.Errorf("the function's error became %v", err)
	}
	if there == home || there == "" {
		t.Errorf("the function ran in %q, at home is %q", there, home)
	}
}

func TestAHandleStaysInItsNamespace(t *testing.T) {
	ns, err := sandbox.Namespace()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	h, err := netns.Handle(sandbox.Path(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "there"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := netlink.LinkByName("there"); err == nil {
		t.Error("the bridge is at home")
	}
}

func TestANamespaceThatIsGoneIsNamed(t *testing.T) {
	err := netns.Do("/proc/0/ns/net", func() error { return nil })
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func where(t *testing.T) string {
	t.Helper()
	at, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Error(err)
	}
	return at
}
