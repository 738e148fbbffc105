package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// self is the node whose server is tested.
const self = "n1"

// world is a fabric that lines of text change. Names are the IDs of networks,
// services and attached containers; tasks have IDs of their own.
//
//	network NAME SUBNET... [internal] [ingress]
//	host NAME [NETWORK=ADDR,...]... [down]
//	service NAME vip|dnsrr [NETWORK[=ADDR,...]]... [NETWORK:ALIAS]...
//	task NAME.SLOT.ID NODE STATE [NETWORK=ADDR,...]... [hostname=NAME]
//	container NAME NODE STATE [NETWORK=ADDR,...]... [NETWORK:ALIAS]... [hostname=NAME]
//	remove ID
//	suspect [NODE]...
type world struct {
	set     *fabric.Set
	suspect []string
	builder *builder
}

func newWorld(lines ...string) *world {
	w := &world{set: fabric.NewSet(), builder: newBuilder(self)}
	w.do(lines...)
	return w
}

func (w *world) suspects(id api.NodeID) bool { return slices.Contains(w.suspect, string(id)) }

func (w *world) table() *table { return w.builder.apply(w.set, w.suspects) }

func (w *world) do(lines ...string) {
	for _, line := range lines {
		if words := strings.Fields(line); len(words) > 0 {
			w.line(words[0], words[1:])
		}
	}
}

func (w *world) line(verb string, words []string) {
	switch verb {
	case "network":
		w.network(words[0], words[1:])
	case "host":
		h := &fabric.Host{ID: api.NodeID(words[0]), Hostname: words[0], Down: slices.Contains(words, "down")}
		h.Gateways, _ = attachments(words[1:])
		w.set.Hosts[h.ID] = h
	case "service":
		s := &fabric.Service{ID: api.ServiceID(words[0]), Name: words[0], DNSRR: words[1] == "dnsrr"}
		all, aliases := attachments(words[2:])
		for _, a := range all {
			s.Networks = append(s.Networks, a.Network)
			if len(a.Addrs) > 0 {
				s.VIPs = append(s.VIPs, a)
			}
		}
		s.Aliases = aliases
		w.set.Services[s.ID] = s
	case "task":
		part := strings.SplitN(words[0], ".", 3)
		e := endpoint(words)
		e.ID, e.Service = part[2], api.ServiceID(part[0])
		w.set.Endpoints[e.ID] = e
	case "container":
		e := endpoint(words)
		w.set.Endpoints[e.ID] = e
	case "remove":
		w.set.Apply(&fabric.Update{Index: w.set.Index, Removed: words})
	case "suspect":
		w.suspect = words
	default:
		panic("what is " + verb + "?")
	}
}

func (w *world) network(name string, words []string) {
	n := &fabric.Network{
		ID: api.NetworkID(name), Name: name,
		Internal: slices.Contains(words, "internal"), Ingress: slices.Contains(words, "ingress"),
	}
	for _, word := range words {
		if p, err := netip.ParsePrefix(word); err == nil {
			n.Subnets = append(n.Subnets, fabric.Subnet{Prefix: p})
		}
	}
	w.set.Networks[n.ID] = n
}

func endpoint(words []string) *fabric.Endpoint {
	states := map[string]fabric.EndpointState{"silent": fabric.Silent, "starting": fabric.Starting, "serving": fabric.Serving}
	e := &fabric.Endpoint{ID: words[0], Name: words[0], Node: api.NodeID(words[1]), State: states[words[2]]}
	e.Networks, e.Aliases = attachments(words[3:])
	for _, word := range words {
		if name, ok := strings.CutPrefix(word, "hostname="); ok {
			e.Hostname = name
		}
	}
	return e
}

// attachments are NETWORK, NETWORK=ADDR,... and NETWORK:ALIAS.
func attachments(words []string) (out []api.Attachment, aliases map[api.NetworkID][]string) {
	aliases = map[api.NetworkID][]string{}
	for _, word := range words {
		if network, alias, ok := strings.Cut(word, ":"); ok && !strings.Contains(word, "=") {
			aliases[api.NetworkID(network)] = append(aliases[api.NetworkID(network)], alias)
			continue
		}
		network, addrs, _ := strings.Cut(word, "=")
		if network == "hostname" || word == "down" {
			continue
		}
		a := api.Attachment{Network: api.NetworkID(network)}
		for text := range strings.SplitSeq(addrs, ",") {
			if text != "" {
				a.Addrs = append(a.Addrs, netip.MustParseAddr(text))
			}
		}
		out = append(out, a)
	}
	return out, aliases
}

// gateway is this node's address in a network.
func (w *world) gateway(network string) netip.Addr {
	if h := w.set.Hosts[self]; h != nil {
		if in := fabric.In(h.Gateways, api.NetworkID(network)); in != nil {
			return in.Addrs[0]
		}
	}
	panic("no gateway in " + network)
}

// ask is what an asker is told about a name by the table.
func (w *world) ask(t *table, network, from, name, qtype string) string {
	who := t.asker(w.gateway(network), netip.MustParseAddr(from))
	q := question(name, qtype)
	m := t.answer(who.networks, q, mdns.MaxMsgSize)
	switch {
	case m != nil:
		return inWords(m)
	case who.forward:
		return "forwarded"
	}
	return mdns.RcodeToString[who.refusal]
}

func question(name, qtype string) *mdns.Msg {
	if a, err := netip.ParseAddr(name); err == nil {
		name, _ = mdns.ReverseAddr(a.String())
	}
	return new(mdns.Msg).SetQuestion(mdns.Fqdn(name), mdns.StringToType[qtype])
}

// inWords is an answer in one line, its records sorted.
func inWords(m *mdns.Msg) string {
	var out []string
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *mdns.A:
			out = append(out, rr.A.String())
		case *mdns.AAAA:
			out = append(out, rr.AAAA.String())
		case *mdns.PTR:
			out = append(out, rr.Ptr)
		default:
			out = append(out, fmt.Sprint(rr))
		}
	}
	slices.Sort(out)
	return strings.TrimSpace(mdns.RcodeToString[m.Rcode] + " " + strings.Join(out, " "))
}
