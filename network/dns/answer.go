package dns

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	mdns "github.com/miekg/dns"

	"github.com/swarmctl/swarmctl/api/fabric"
)

const (
	// ttl is how many seconds an answer may be kept. Docker's are kept for ten
	// minutes, and programs that do so go on calling tasks that are long gone. At
	// 1 a change is seen within a second everywhere; 0 would be taken by some
	// programs for an answer that must not be used, and have every connection of
	// the others ask.
	ttl = 1
	// maxUDP is the largest answer over UDP, to those who say that they take it.
	// It stays on this host, so no path is too narrow for it.
	maxUDP = 4096
	// recordSize is what an address takes in an answer at the least.
	recordSize = 16
)

// answer is what the table says to a question: nil if it knows nothing of the
// name, and others are to be asked. size is the most that the answer may take.
func (t *table) answer(networks []*fabric.Network, q *mdns.Msg, size int) *mdns.Msg {
	question := q.Question[0]
	name := canonical(question.Name)
	if addr, ok := parseReverse(name); ok {
		return t.answerReverse(networks, q, addr)
	}
	_, r := t.lookup(networks, name)
	if r == nil {
		return nil
	}
	m := reply(q, mdns.RcodeSuccess)
	switch question.Qtype {
	case mdns.TypeA:
		m.Answer = addressRecords(m, question, r.v4, size)
	case mdns.TypeAAAA:
		m.Answer = addressRecords(m, question, r.v6, size)
	}
	// The name exists: whatever else was asked, there are no such records of it.
	return m
}

// addressRecords are an answer's records, in another order each time so that
// callers who take the first one spread.
func addressRecords(m *mdns.Msg, q mdns.Question, addrs []netip.Addr, size int) []mdns.RR {
	addrs = slices.Clone(addrs)
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	if most := size / recordSize; len(addrs) > most {
		addrs, m.Truncated = addrs[:most], true
	}
	out := make([]mdns.RR, 0, len(addrs))
	for _, a := range addrs {
		head := mdns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: mdns.ClassINET, Ttl: ttl}
		if a.Is4() {
			out = append(out, &mdns.A{Hdr: head, A: a.AsSlice()})
		} else {
			out = append(out, &mdns.AAAA{Hdr: head, AAAA: a.AsSlice()})
		}
	}
	return out
}

// answerReverse names who has an address. That nobody has one in the asker's
// own networks is for us to say; others know the other addresses.
func (t *table) answerReverse(networks []*fabric.Network, q *mdns.Msg, addr netip.Addr) *mdns.Msg {
	name, known := t.reverse(networks, addr)
	switch {
	case !known:
		return nil
	case name == "":
		return reply(q, mdns.RcodeNameError)
	}
	m, question := reply(q, mdns.RcodeSuccess), q.Question[0]
	if question.Qtype == mdns.TypePTR {
		head := mdns.RR_Header{Name: question.Name, Rrtype: mdns.TypePTR, Class: mdns.ClassINET, Ttl: ttl}
		m.Answer = []mdns.RR{&mdns.PTR{Hdr: head, Ptr: mdns.Fqdn(name)}}
	}
	return m
}

// reply is an answer without records.
func reply(q *mdns.Msg, rcode int) *mdns.Msg {
	m := new(mdns.Msg).SetRcode(q, rcode)
	m.RecursionAvailable = true
	if q.IsEdns0() != nil {
		m.SetEdns0(maxUDP, false)
	}
	return m
}

// sizeFor is the most that an answer to a question may take.
func sizeFor(q *mdns.Msg, tcp bool) int {
	if tcp {
		return mdns.MaxMsgSize
	}
	if opt := q.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), mdns.MinMsgSize), maxUDP)
	}
	return mdns.MinMsgSize
}

// fit makes an answer small enough and marks it if something was left out. Over
// TCP there is nowhere to come back for the rest, so it is not marked there.
func fit(m *mdns.Msg, size int, tcp bool) {
	m.Truncate(size)
	m.Compress = true
	if tcp {
		m.Truncated = false
	}
}
