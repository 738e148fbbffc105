package ingress

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/swarmctl/swarmctl/network/nft"
)

// Priorities of our chains: before Docker's, so that a port is ours even where
// a container of the host publishes it, and behind everybody's rules for what may
// come in.
const (
	beforeDockerDNAT = -110
	afterDNAT        = -90
	beforeDockerSNAT = 90
	afterAllInput    = 1000
)

// Marks of packets that have been let in and come a second time; the rest of
// the mark is the interface that they came in by.
const (
	letIn     = 0x5300_0000 // "S"
	letInMask = 0xff00_0000
)

// frame is what the table has besides ports.
type frame struct {
	bridge  string
	gateway netip.Addr
	gate    int // the gate's index; 0: without
	turn    uint32
}

// table is our table for one family on the host, and what it agrees with.
type table struct {
	nft.Table
	frame          frame
	subnets        []netip.Prefix
	all, addressed nft.Targets
}

// names of the maps and sets of one kind of keys.
type names struct{ ports, served, idle string }

var (
	ofAll       = names{"ports", "served", "idle"}
	ofAddressed = names{"addressed", "served-addressed", "idle-addressed"}
)

func (t *table) dispatch(addressed bool, f frame) nft.Dispatch {
	n, key := ofAll, []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
	if addressed {
		n, key = ofAddressed, append([]nftables.SetDatatype{t.Address()}, key...)
	}
	set := func(name string) *nftables.Set {
		return &nftables.Set{Name: name, KeyType: nftables.MustConcatSetType(key...), Concatenation: true}
	}
	d := nft.Dispatch{Map: set(n.ports), Served: set(n.served), Idle: set(n.idle), Turn: f.turn}
	d.Map.IsMap, d.Map.DataType = true, nftables.TypeVerdict
	return d
}

// networks is the set of the cluster's own networks.
func (t *table) networks() *nftables.Set {
	return &nftables.Set{Name: "networks", KeyType: t.Address(), Interval: true}
}

// agree makes the table agree with a plan: all of it where it was not made
// here yet, and the difference otherwise.
func (t *table) agree(in *nft.Space, p *plan, f frame, taken map[place]bool) error {
	b := in.In(t.Family())
	if !t.Made || t.frame != f {
		t.Made = false
		t.begin(b, f)
		t.subnets, t.all, t.addressed = nil, nil, nil
	}
	all, addressed := p.targets(t.V6, taken)
	b.Apply(t.dispatch(false, f), nft.Diff(t.all, all))
	b.Apply(t.dispatch(true, f), nft.Diff(t.addressed, addressed))
	if subnets := p.subnets[index(t.V6)]; !slices.Equal(t.subnets, subnets) {
		b.Replace(t.networks(), nft.Ranges(subnets)...)
	}
	if b.Empty() {
		return nil
	}
	if err := t.Flush(b); err != nil {
		return err
	}
	t.frame, t.subnets, t.all, t.addressed = f, p.subnets[index(t.V6)], all, addressed
	return nil
}

// begin makes the table without any port.
func (t *table) begin(b *nft.Batch, f frame) {
	b.Reset()
	for _, d := range []nft.Dispatch{t.dispatch(false, f), t.dispatch(true, f)} {
		b.Set(*d.Map)
		b.Set(*d.Served)
		b.Set(*d.Idle)
	}
	b.Set(*t.networks())
	b.Chain("published")
	b.Rule("published", "names are answered at gateways", b.DestinationIn("networks"), nft.Return())
	b.Rule("published", "", b.ToPlace(ofAddressed.ports, true))
	b.Rule("published", "", b.ToPlace(ofAll.ports, false))
	t.sendOn(b, f)
	t.letIn(b, f)
	t.arrive(b, f)
	t.own(b, f)
}

// sendOn is where connections from elsewhere, and those of the host itself, get
// their new destination.
func (t *table) sendOn(b *nft.Batch, f frame) {
	b.Hook("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, beforeDockerDNAT)
	var which []expr.Any
	if f.gate != 0 {
		which = nft.Mark(letIn, letInMask)
	}
	b.Rule("prerouting", "", which, nft.DestinationLocal(), nft.Jump("published"))
	b.Hook(nft.Output, nftables.ChainTypeNAT, nftables.ChainHookOutput, beforeDockerDNAT)
	b.Rule(nft.Output, "from the host itself", nft.DestinationLocal(), nft.Jump("published"))
}

// letIn makes the host's rules for what may come in hold. The first packet of
// a connection goes to the host, past all chains for input that there are; if it
// arrives here, behind them, then it was let in, and a copy of it comes in a second
// time by the interface it came by first. This one is sent on. Where there are no such
// chains the fast path marks a first packet as one that has been let in.
func (t *table) letIn(b *nft.Batch, f frame) {
	b.Hook("input", nftables.ChainTypeFilter, nftables.ChainHookInput, afterAllInput)
	b.Chain("first")
	b.Rule("input", "", nft.New(), nft.DestinationLocal(), nft.Jump("first"))
	b.Chain("refuse")
	b.Refuse("refuse", "no task serves")
	if t.V6 {
		b.Rule("first", "", b.Destination(loopback6), b.PlaceIn(ofAll.served, false), nft.Goto("refuse"))
	}
	b.Rule("first", "names are answered at gateways", b.DestinationIn("networks"), nft.Return())
	b.Rule("first", "", b.PlaceIn(ofAddressed.idle, true), nft.Goto("refuse"))
	b.Rule("first", "", b.PlaceIn(ofAll.idle, false), nft.Goto("refuse"))
	if f.gate == 0 {
		return
	}
	b.Rule("first", "has been here before", nft.Mark(letIn, letInMask), nft.Return())
	b.Chain("again")
	b.Rule("first", "", b.PlaceIn(ofAddressed.served, true), nft.Goto("again"))
	b.Rule("first", "", b.PlaceIn(ofAll.served, false), nft.Goto("again"))
	b.Rule("again", "", nft.MarkWithInterface(letIn, letInMask), nft.Copy(neighbours[index(t.V6)], f.gate), nft.Drop())
	b.Hook("unmark", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, afterDNAT)
	b.Rule("unmark", "", nft.Mark(letIn, letInMask), nft.Redirected(), nft.SetMark(0))
	b.Rule("unmark", "only on its way through this host", nft.Mark(letIn, letInMask), nft.DestinationElsewhere(), nft.SetMark(0))
}

// own gives connections of the host and of its containers the host's address
// in the ingress network. The host's own addresses mean something else where the
// task is, and a task that calls itself by its host would talk to itself.
func (t *table) own(b *nft.Batch, f frame) {
	b.Hook("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, beforeDockerSNAT)
	b.Rule("postrouting", "from the host itself", nft.OutBy(f.bridge), nft.Redirected(), nft.SourceLocal(), b.SNAT(f.gateway))
	b.Rule("postrouting", "from containers", nft.OutBy(f.bridge), nft.Redirected(), b.SourceIn("networks"), b.SNAT(f.gateway))
}

// arrive is what every packet passes that reaches the host, so it asks first for
// what hardly any of them has.
//
// It keeps tasks from the host's loopback addresses, which are routed on the bridge
// so that 127.0.0.1 can be a client. Replies to it are addressed to the gateway when
// they come in.
func (t *table) arrive(b *nft.Batch, f frame) {
	b.Hook("arriving", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle)
	if !t.V6 {
		b.Rule("arriving", "", b.Destination(netip.MustParsePrefix("127.0.0.0/8")), nft.InBy(f.bridge), nft.Drop())
	}
	if f.gate == 0 {
		return
	}
	b.Chain("second")
	b.Rule("arriving", "", nft.Mark(letIn, letInMask), nft.Jump("second"))
	b.Rule("second", "", nft.ForThisHost())
	if !t.V6 {
		b.Rule("second", "copies must not be fragmented otherwise", nft.MayFragment())
	}
}
