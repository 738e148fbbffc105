package hosts

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
)

func rackOf(t *testing.T, n int) *Rack {
	t.Helper()
	r, err := New(Config{Prefix: "it-self", Subnet: "10.91.100", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Down(); err != nil {
			t.Error(err)
		}
	})
	if _, err := r.Add(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPowerOffEndsEverythingAndTheDiskStays(t *testing.T) {
	r := rackOf(t, 2)
	h := r.Hosts[0]
	sleeper, err := h.Start("sleeper", "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	must(t, h, "sh", "-c", "setsid sleep 1001 >/dev/null 2>&1 & echo kept > /var/lib/mark; echo lost > /run/mark; sync")
	h.PowerOff()
	select {
	case <-sleeper.Done:
	case <-time.After(time.Second):
		t.Error("a process outlived the power-off")
	}
	if _, err := h.Run(t.Context(), "true"); err == nil {
		t.Error("a host without power ran a command")
	}
	if err := h.PowerOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := must(t, h, "sh", "-c", "cat /var/lib/mark; ls /run/mark 2>/dev/null; ls /proc | grep -c '^[0-9]*$'"); !strings.HasPrefix(got, "kept\n") || strings.Contains(got, "/run/mark") {
		t.Errorf("after the power cycle: %q", got)
	}
}

func TestCablesAndNames(t *testing.T) {
	r := rackOf(t, 2)
	one, two := r.Hosts[0], r.Hosts[1]
	if got := must(t, two, "hostname"); got != "h2\n" {
		t.Errorf("name of the second host: %q", got)
	}
	ping := func() error {
		_, err := one.Run(t.Context(), "bash", "-c", "timeout 0.5 bash -c 'exec 3<>/dev/tcp/"+two.Addr+"/9'")
		return err
	}
	refused := func() bool { return strings.Contains(ping().Error(), "refused") }
	if !refused() {
		t.Errorf("no answer over the cable: %v", ping())
	}
	if err := two.Cut(); err != nil {
		t.Fatal(err)
	}
	if refused() {
		t.Error("an answer over a cable that was cut")
	}
	if err := two.Heal(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); !refused(); {
		if time.Now().After(deadline) {
			t.Fatal("no answer over the healed cable")
		}
	}
}

func TestEachHostHasAnEngineOfItsOwn(t *testing.T) {
	r := rackOf(t, 2)
	for _, h := range r.Hosts {
		c, err := h.Engine()
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.ContainerList(t.Context(), container.ListOptions{All: true})
		if info.Name != h.Name || info.Images != 0 || len(list) != 0 || err != nil {
			t.Errorf("engine of %s: name %s, %d images, %d containers, %v", h.Name, info.Name, info.Images, len(list), err)
		}
	}
}

func TestDownLeavesNothing(t *testing.T) {
	r, err := New(Config{Prefix: "it-self", Subnet: "10.91.100", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Add(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := r.Down(); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(r.Dir()))
	if _, err := os.Stat(r.Dir()); !os.IsNotExist(err) || len(left) > 0 {
		t.Errorf("left behind: %s (%v), %v", r.Dir(), err, left)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), filepath.Base(r.Dir())) {
		t.Errorf("a mount was left behind (%v)", err)
	}
}

func must(t *testing.T, h *Host, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := h.Run(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
