package balance

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/nft"
)

// table is our table for one family in one container's namespace, and what it
// agrees with.
type table struct {
	nft.Table
	view  view
	own   primary
	names *names
}

// vips is the map from virtual addresses to the chains that answer them.
func (t *table) vips() *nftables.Set {
	return &nftables.Set{Name: "vips", IsMap: true, KeyType: t.Address(), DataType: nftables.TypeVerdict}
}

// agree makes the table agree with a view: all of it where it was not made
// here yet, and the difference otherwise.
func (t *table) agree(in *nft.Space, v view, turn uint32, own primary, names *names) error {
	b := in.In(t.Family())
	d := nft.Dispatch{Map: t.vips(), Refuse: true, Turn: turn}
	if (t.view.ways == nil) != (v.ways == nil) || t.own != own || t.names != names {
		t.Made = false // it has other chains then
	}
	if !t.Made {
		t.begin(b, v.ways != nil, own)
		if names != nil && !t.V6 {
			t.ask(b, names)
		}
		t.view = view{networks: make([]*network, len(v.networks))}
	}
	for i, now := range v.networks {
		if old := t.view.networks[i]; old != now {
			b.Apply(d, nft.Diff(old.of(t.V6), now.of(t.V6)))
		}
	}
	if b.Empty() {
		t.view = v
		return nil
	}
	if err := t.Flush(b); err != nil {
		return err
	}
	t.view, t.own, t.names = v, own, names
	return nil
}

// begin makes the table without any service.
func (t *table) begin(b *nft.Batch, ingress bool, own primary) {
	b.Reset()
	b.Set(*t.vips())
	b.Hook(nft.Output, nftables.ChainTypeNAT, nftables.ChainHookOutput, *nftables.ChainPriorityNATDest)
	// The kernel tracks connections only while some rule asks for it. When nobody
	// serves any more no chain does, and connections that drain must go on.
	b.Rule(nft.Output, "", nft.New(), b.ToKey("vips"))
	if ingress {
		t.replies(b, own)
	}
}

// replies makes connections that hosts have sent here, and that bear their mark,
// go back through the host that sent them.
func (t *table) replies(b *nft.Batch, own primary) {
	b.Hook("replies", nftables.ChainTypeRoute, nftables.ChainHookOutput, *nftables.ChainPriorityMangle)
	b.Rule("replies", "back by that host", nft.ConnMark(markBase, markMask), nft.Reply(), nft.MarkAsConnection())
	if own.addr.IsValid() {
		b.Hook("datagrams", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest)
		b.Rule("datagrams", "a server answers from its first address", nft.ConnMark(markBase, markMask),
			nft.Protocol(unix.IPPROTO_UDP), b.Source(expr.CmpOpNeq, own.ingress), b.DNAT(own.addr))
	}
}

// primary is the address from which a container sends datagrams to clients
// outside, where that is not the one at which they reach it: a server that is
// bound to no address answers from there, and the answer would be of no connection.
// So such datagrams are sent on to the primary address, within the container.
type primary struct {
	addr    netip.Addr   // none where it is the ingress address anyhow
	ingress netip.Prefix // its neighbours are answered from the ingress address
}
