package balance

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/nft"
)

// table is our table for one family in one container's namespace, and what it
// agrees with.
type table struct {
	nft.Table
	view view
	own  primary
}

// vips is the map from virtual addresses to the chains that answer them.
func (t *table) vips() *nftables.Set {
	return &nftables.Set{Name: "vips", IsMap: true, KeyType: t.Address(), DataType: nftables.TypeVerdict}
}

// gateways is the map from the hardware addresses of hosts to their marks.
var gateways = &nftables.Set{
	Name: "gateways", IsMap: true, KeyType: nftables.TypeEtherAddr, DataType: nftables.TypeMark,
	KeyByteOrder: binaryutil.BigEndian,
}

// agree makes the table agree with a view: all of it where it was not made
// here yet, and the difference otherwise.
func (t *table) agree(in *nft.Space, v view, turn uint32, own primary) error {
	b := in.In(t.Family())
	d := nft.Dispatch{Map: t.vips(), Refuse: true, Turn: turn}
	if (t.view.ways == nil) != (v.ways == nil) || t.own != own {
		t.Made = false // it has other chains then
	}
	if !t.Made {
		t.begin(b, v.ways != nil, own)
		t.view = view{networks: make([]*network, len(v.networks))}
	}
	for i, now := range v.networks {
		if old := t.view.networks[i]; old != now {
			b.Apply(d, nft.Diff(old.of(t.V6), now.of(t.V6)))
		}
	}
	if t.view.ways != v.ways && v.ways != nil {
		mark(b, t.view.ways, v.ways)
	}
	if b.Empty() {
		t.view = v
		return nil
	}
	if err := t.Flush(b); err != nil {
		return err
	}
	t.view, t.own = v, own
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

// replies makes connections that hosts have sent here go back through the host
// that sent them. What a host sends bears the hardware address of its gateway.
func (t *table) replies(b *nft.Batch, own primary) {
	b.Set(*gateways)
	b.Hook("arriving", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle)
	b.Rule("arriving", "by which host it came", nft.New(), nft.MarkBySender("gateways"))
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

// mark brings the map of hosts up to date.
func mark(b *nft.Batch, old, now *ways) {
	before, after := map[host]bool{}, map[host]bool{}
	if old != nil {
		for _, h := range old.hosts {
			before[h] = true
		}
	}
	for _, h := range now.hosts {
		after[h] = true
	}
	b.Delete(gateways, elements(before, after)...)
	b.Add(gateways, elements(after, before)...)
}

// elements are those of hosts in one list and not in the other.
func elements(in, notIn map[host]bool) []nftables.SetElement {
	var out []nftables.SetElement
	for h := range in {
		if !notIn[h] {
			out = append(out, nftables.SetElement{Key: h.mac[:], Val: binaryutil.BigEndian.PutUint32(h.mark())})
		}
	}
	return out
}
