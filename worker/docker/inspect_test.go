package docker

import (
	"slices"
	"testing"

	"github.com/docker/go-connections/nat"

	"github.com/swarmctl/swarmctl/api"
)

func TestPortsAreListedOnce(t *testing.T) {
	both := func(v4, v6 string) []nat.PortBinding {
		return []nat.PortBinding{{HostIP: "0.0.0.0", HostPort: v4}, {HostIP: "::", HostPort: v6}}
	}
	for name, c := range map[string]struct {
		bound nat.PortMap
		want  []api.PortStatus
	}{
		"none":                {nil, nil},
		"exposed alone":       {nat.PortMap{"80/tcp": nil}, nil},
		"IPv4 and IPv6":       {nat.PortMap{"80/tcp": both("8080", "8080")}, []api.PortStatus{{Protocol: "tcp", Target: 80, Published: 8080}}},
		"chosen for each":     {nat.PortMap{"80/tcp": both("32790", "32770")}, []api.PortStatus{{Protocol: "tcp", Target: 80, Published: 32770}, {Protocol: "tcp", Target: 80, Published: 32790}}},
		"target by target":    {nat.PortMap{"90/tcp": both("1", "1"), "80/udp": both("3", "3"), "80/tcp": both("2", "2")}, []api.PortStatus{{Protocol: "tcp", Target: 80, Published: 2}, {Protocol: "udp", Target: 80, Published: 3}, {Protocol: "tcp", Target: 90, Published: 1}}},
		"not bound as of yet": {nat.PortMap{"80/tcp": both("", "")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := portsOf(c.bound); !slices.Equal(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
