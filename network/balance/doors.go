package balance

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"

	"github.com/swarmctl/swarmctl/network/nft"
)

// doors is our table for both families in the namespace of a container that
// publishes ports: it tells by which host a connection has come in. What a host sends
// bears the hardware address of its gateway.
//
// A client may use one port of its own for connections to several hosts, and all
// of them may send it here: for the container these would be one connection, and
// replies would go back by the first host for ever. So what comes by each host is tracked
// by itself, in a zone with the number of that host, and where two have the same addresses
// and ports the second gets another source port in here. Who calls from the ingress
// network needs no zone: a host's own callers have its address there. Nor could they have
// one: what a host sends back into the bridge it came from keeps its hardware address.
//
// The table stays as it is when the daemon starts anew. While there was none, packets
// of connections that are open would begin connections of no zone, with another
// source port, and be reset.
type doors struct {
	made   bool
	within int   // how many subnets the ingress network has
	ways   *ways // that it agrees with
}

// gateways is the map from the hardware addresses of hosts to their marks, and
// by those to their zones.
var gateways = &nftables.Set{
	Name: "gateways", IsMap: true, KeyType: nftables.TypeEtherAddr, DataType: nftables.TypeMark,
	KeyByteOrder: binaryutil.BigEndian,
}

// Chains of the table. If what one does is to change, it needs another name:
// those that are there are not written anew.
const (
	zones    = "zones"
	arriving = "arriving"
)

const bothFamilies = nftables.TableFamilyINet

// agree brings the map of hosts up to date, in a table that is made if need be.
func (d *doors) agree(in *nft.Space, w *ways) error {
	if !d.made {
		if err := d.make(in, w.prefixes); err != nil {
			return err
		}
	}
	b := in.In(bothFamilies)
	if d.ways == nil {
		b.Replace(gateways, elements(marks(w), nil)...)
	} else {
		before, after := marks(d.ways), marks(w)
		b.Delete(gateways, elements(before, after)...)
		b.Add(gateways, elements(after, before)...)
	}
	if b.Empty() {
		return nil
	}
	d.made = false
	if err := b.Flush(); err != nil {
		return err
	}
	d.made, d.ways = true, w
	return nil
}

// make makes the table without any host, unless it is there.
func (d *doors) make(in *nft.Space, within []netip.Prefix) error {
	d.ways, d.within = nil, len(within)
	if there, err := d.there(in); there || err != nil {
		return err
	}
	b := in.In(bothFamilies)
	b.Reset()
	b.Set(*gateways)
	b.Hook(zones, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
	for _, p := range within {
		b.Rule(zones, "told apart by their addresses", nft.From(p), nft.Return())
	}
	b.Hook(arriving, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle)
	b.Rule(arriving, "by which host it came", nft.New(), nft.MarkBySender(gateways.Name))
	if err := b.Flush(); err != nil {
		return err
	}
	return in.ZoneBySender(bothFamilies, zones, gateways.Name, "what comes by another host is another connection")
}

// there reports whether both chains have all their rules.
func (d *doors) there(in *nft.Space) (bool, error) {
	for chain, want := range map[string]int{zones: d.within + 1, arriving: 1} {
		if rules, err := in.Rules(bothFamilies, chain); rules != want || err != nil {
			return false, err
		}
	}
	return true, nil
}

// look reports whether what was made is there. Others may have taken it away.
func (d *doors) look(in *nft.Space) (bool, error) {
	if !d.made {
		return false, nil
	}
	var err error
	d.made, err = d.there(in)
	return d.made, err
}

func (d *doors) remove(in *nft.Space) error {
	b := in.In(bothFamilies)
	b.Remove()
	d.made = false
	return b.Flush()
}

// marks are those of hosts by their hardware addresses.
func marks(w *ways) map[[6]byte]uint32 {
	m := map[[6]byte]uint32{}
	for _, h := range w.hosts {
		m[h.mac] = h.mark()
	}
	return m
}

// elements are those of hosts in one map and not in the other.
func elements(in, notIn map[[6]byte]uint32) []nftables.SetElement {
	var out []nftables.SetElement
	for mac, mark := range in {
		if notIn[mac] != mark {
			out = append(out, nftables.SetElement{Key: mac[:], Val: binaryutil.BigEndian.PutUint32(mark)})
		}
	}
	return out
}
