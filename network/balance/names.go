package balance

import (
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/nft"
)

// names is where a container asks for names that was made without the cluster's
// servers, and joined one of its networks later. The engine keeps the servers that it
// was made with. What it asks those is answered by this host's, which ask the
// host's own for what the cluster does not know.
type names struct {
	instead []netip.Addr // of these servers
	at, own netip.Addr   // the host's address in a network of the container's, and the container's
}

// AskHere has a container that is attached ask for names at an address of this host, in
// a network in which it has an address of its own, instead of the servers that it was
// made with. IPv4 alone.
func (b *Balancer) AskHere(id string, instead []netip.Addr, at, own netip.Addr) error {
	b.mu.Lock()
	c := b.containers[id]
	b.mu.Unlock()
	if c == nil {
		return nil // it has ended
	}
	trouble, err := c.askHere(b.current, &names{instead, at, own})
	if trouble != nil {
		b.cfg.Log.Warn("replies to clients outside may be lost", "container", id, "err", trouble)
	}
	return err
}

func (c *container) askHere(now current, n *names) (trouble, err error) {
	if err := c.work(func() error { c.names = n; return nil }); err != nil {
		return nil, err
	}
	return c.follow(now, departure{})
}

// ask sends questions to the servers on to the host. They leave by another
// interface than they were to, whose address they must bear.
func (t *table) ask(b *nft.Batch, n *names) {
	b.Hook("asking", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource)
	for _, protocol := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		question := nft.Join(nft.Protocol(protocol), nft.ToPort(53))
		for _, server := range n.instead {
			b.Rule(nft.Output, "names of the cluster", b.Destination(netip.PrefixFrom(server, 32)), question, b.DNAT(n.at))
		}
		b.Rule("asking", "", b.Destination(netip.PrefixFrom(n.at, 32)), question, nft.Redirected(), b.SNAT(n.own))
	}
}
