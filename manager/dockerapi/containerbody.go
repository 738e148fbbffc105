package dockerapi

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/swarmctl/swarmctl/api"
)

// labelAttachment is the label of a container of a user's that was made in
// networks of the cluster: the cluster's ID for it. One that was connected
// later has none, and is known by its own ID.
const labelAttachment = "com.swarmctl.attachment"

// containerBody is the request to make a container, as far as its networks are
// concerned. What else it says is handed on as it came.
type containerBody struct {
	all       map[string]json.RawMessage
	host      map[string]json.RawMessage // HostConfig
	mode      string                     // HostConfig.NetworkMode
	endpoints map[string]map[string]json.RawMessage
}

// readContainerBody returns nil for what is no such request: the engine says so.
func readContainerBody(body []byte) *containerBody {
	c := &containerBody{}
	var networking struct {
		EndpointsConfig map[string]map[string]json.RawMessage
	}
	if json.Unmarshal(body, &c.all) != nil || !part(c.all, "HostConfig", &c.host) || !part(c.all, "NetworkingConfig", &networking) ||
		!part(c.host, "NetworkMode", &c.mode) {
		return nil
	}
	c.endpoints = networking.EndpointsConfig
	return c
}

// part reads one member of an object, if it is there.
func part(object map[string]json.RawMessage, name string, v any) bool {
	data, ok := object[name]
	return !ok || json.Unmarshal(data, v) == nil
}

// networks are the networks that the request names, beside those that every
// engine has.
func (c *containerBody) networks() []string {
	var out []string
	if userDefined(c.mode) {
		out = append(out, c.mode)
	}
	for _, name := range slices.Sorted(maps.Keys(c.endpoints)) {
		if userDefined(name) && name != c.mode {
			out = append(out, name)
		}
	}
	return out
}

func userDefined(name string) bool { return name != "" && container.NetworkMode(name).IsUserDefined() }

// asked is what the request wants of its place in a network.
func (c *containerBody) asked(name string) (attachmentNetwork, error) {
	return askedOf(name, c.endpoints[name])
}

func askedOf(name string, endpoint map[string]json.RawMessage) (attachmentNetwork, error) {
	out := attachmentNetwork{Network: name}
	var ipam network.EndpointIPAMConfig
	part(endpoint, "Aliases", &out.Aliases)
	part(endpoint, "IPAMConfig", &ipam)
	for _, text := range []string{ipam.IPv4Address, ipam.IPv6Address} {
		if text == "" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return out, api.Errorf(api.CodeInvalid, "network %s: %q is no IP address", name, text)
		}
		out.Addrs = append(out.Addrs, a)
	}
	return out, nil
}

// macSince is the version of the API since which a place in a network has a
// hardware address of its own. Engines before that derive it from the IPv4
// address, as the cluster does; what an older request says of one, a later
// engine takes for the container's first network and forgets then.
const macSince = "1.44"

// rewrite puts the container on this node's bridges, under what the request
// called the networks. bridges has those that are the cluster's. oldWay is for a
// request of before macSince to an engine of after it.
func (c *containerBody) rewrite(id string, bridges map[string]Bridge, dns []netip.Addr, oldWay bool) ([]byte, error) {
	endpoints := map[string]map[string]json.RawMessage{}
	for name, e := range c.endpoints {
		if _, ours := bridges[name]; !ours {
			endpoints[name] = e
		}
	}
	for name, b := range bridges {
		endpoints[b.Name] = b.endpoint(c.endpoints[name])
	}
	if b, ours := bridges[c.mode]; ours {
		c.setHost("NetworkMode", b.Name)
		if oldWay {
			c.all["MacAddress"] = raw(b.MAC.String())
		}
	}
	var servers, own []string
	for _, a := range dns {
		servers = append(servers, a.String())
	}
	part(c.host, "Dns", &own)
	c.setHost("Dns", append(servers, own...)) // only the first know the cluster's names
	labels := map[string]string{}
	part(c.all, "Labels", &labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelAttachment] = id
	c.all["Labels"], c.all["HostConfig"] = raw(labels), raw(c.host)
	c.all["NetworkingConfig"] = raw(map[string]any{"EndpointsConfig": endpoints})
	return json.Marshal(c.all)
}

func (c *containerBody) setHost(name string, value any) {
	if c.host == nil {
		c.host = map[string]json.RawMessage{}
	}
	c.host[name] = raw(value)
}

// endpoint is the place with the addresses that the cluster has given it, and
// whatever else was asked of it.
func (b *Bridge) endpoint(asked map[string]json.RawMessage) map[string]json.RawMessage {
	out := maps.Clone(asked)
	if out == nil {
		out = map[string]json.RawMessage{}
	}
	ipam := map[string]json.RawMessage{}
	part(asked, "IPAMConfig", &ipam)
	if ipam == nil {
		ipam = map[string]json.RawMessage{}
	}
	for _, a := range b.Addrs {
		if a.Is4() {
			ipam["IPv4Address"] = raw(a.String())
		} else {
			ipam["IPv6Address"] = raw(a.String())
		}
	}
	out["IPAMConfig"] = raw(ipam)
	if len(b.MAC) > 0 {
		out["MacAddress"] = raw(b.MAC.String())
	}
	return out
}

// shortID is what Docker calls a container by its ID, and a name of it in
// every network.
func shortID(id string) string {
	const length = 12
	return id[:min(length, len(id))]
}

// containerName is the name without the engine's slash.
func containerName(name string) string { return strings.TrimPrefix(name, "/") }

// attachmentOf is the cluster's ID for a container.
func attachmentOf(id string, labels map[string]string) string {
	if own := labels[labelAttachment]; own != "" {
		return own
	}
	return id
}

// isTask reports whether a container is a task's, which the worker looks after.
func isTask(labels map[string]string) bool { return labels[api.LabelOurTask] != "" }
