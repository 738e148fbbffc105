package daemon

import (
	"strings"
	"testing"
)

func TestAdvertiseAddr(t *testing.T) {
	for _, tc := range []struct{ wish, listen, want, err string }{
		{wish: "192.0.2.1", listen: "0.0.0.0:2377", want: "192.0.2.1:2377"},
		{wish: "192.0.2.1:4000", listen: "0.0.0.0:2377", want: "192.0.2.1:4000"},
		{wish: "192.0.2.1", listen: "0.0.0.0:4000", want: "192.0.2.1:4000"},
		{wish: "2001:db8::1", listen: "[::]:2377", want: "[2001:db8::1]:2377"},
		{wish: "[2001:db8::1]:99", listen: "[::]:2377", want: "[2001:db8::1]:99"},
		{wish: "", listen: "192.0.2.7:2377", want: "192.0.2.7:2377"},
		{wish: "lo", listen: "0.0.0.0:2377", want: "127.0.0.1:2377"},
		{wish: "0.0.0.0", listen: "0.0.0.0:2377", err: "non-zero IP address"},
		{wish: "no-such-if", listen: "0.0.0.0:2377", err: `which "no-such-if" is not on this host`},
	} {
		got, err := advertiseAddr(tc.wish, tc.listen)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), "--advertise-addr") {
				t.Errorf("advertiseAddr(%q): error %v, want %q and the way out", tc.wish, err, tc.err)
			}
			continue
		}
		if err != nil || got != tc.want {
			t.Errorf("advertiseAddr(%q, %q) = %q, %v; want %q", tc.wish, tc.listen, got, err, tc.want)
		}
	}
}

func TestListenAddr(t *testing.T) {
	for addr, want := range map[string]string{
		"": "0.0.0.0:2377", "127.0.0.1": "127.0.0.1:2377", "127.0.0.1:99": "127.0.0.1:99", "lo:5": "127.0.0.1:5", "[::]:2377": "[::]:2377",
	} {
		if got, err := listenAddr(addr); err != nil || got != want {
			t.Errorf("listenAddr(%q) = %q, %v; want %q", addr, got, err, want)
		}
	}
}

func TestADataPathOfItsOwnIsRefused(t *testing.T) {
	for addr, want := range map[string]string{
		"": "", "127.0.0.1": "", "lo": "",
		"192.0.2.1":  "not supported yet: a data path address (192.0.2.1) other than the advertised one (127.0.0.1)",
		"0.0.0.0":    "data path address must be a non-zero IP address",
		"no-such-if": `which "no-such-if" is not on this host`,
	} {
		err := checkDataPath(addr, "127.0.0.1:2377")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", addr, err, want)
		}
	}
}

func TestPortTakenIsSaid(t *testing.T) {
	l, err := listenPort("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = listenPort(l.Addr().String())
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--listen-addr") {
		t.Errorf("got %v", err)
	}
}

func TestOneDaemonAStateDirectory(t *testing.T) {
	dir := t.TempDir()
	release, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockState(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second daemon: %v", err)
	}
	release()
	again, err := lockState(dir)
	if err != nil {
		t.Fatalf("after the first is gone: %v", err)
	}
	again()
}
