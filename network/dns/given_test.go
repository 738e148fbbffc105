package dns

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestContainersAreGivenTheHostsServers(t *testing.T) {
	for _, c := range []struct{ name, host, resolved, want string }{
		{"its own", "nameserver 192.0.2.1\nnameserver 192.0.2.2\n", "", "[192.0.2.1 192.0.2.2]"},
		{"but for the loopback's", "nameserver 127.0.0.1\nnameserver ::1\nnameserver 192.0.2.2\n", "", "[192.0.2.2]"},
		{"resolved's", "nameserver 127.0.0.53\noptions edns0\n", "nameserver 192.0.2.3\n", "[192.0.2.3]"},
		{"not resolved's beside others", "nameserver 127.0.0.53\nnameserver 192.0.2.2\n", "nameserver 192.0.2.3\n", "[192.0.2.2]"},
		{"none", "nameserver 127.0.0.1\n", "", "[]"},
		{"no file", "", "", "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			host, resolved := filepath.Join(dir, "host"), filepath.Join(dir, "resolved")
			for path, text := range map[string]string{host: c.host, resolved: c.resolved} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := fmt.Sprint(given(host, resolved)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
