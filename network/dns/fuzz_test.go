package dns

import (
	"net/netip"
	"testing"

	mdns "github.com/miekg/dns"
)

// FuzzAnswer: whatever bytes are a question, there is an answer to it, which can
// be sent and is not larger than the asker takes.
func FuzzAnswer(f *testing.F) {
	w := loopback("task web.1.aaa n1 serving front=127.1.1.20", "service db dnsrr front")
	s := New(Config{Self: self, ResolvConf: resolv(f), Log: quiet})
	s.Apply(w.set, nil)
	s.Ready(netip.MustParseAddr(caller))
	for _, name := range []string{"web", "tasks.web", "web.1.aaa", "db", "127.1.1.10", "example.com", "."} {
		for _, qtype := range []string{"A", "AAAA", "PTR", "ANY", "AXFR"} {
			q := question(name, qtype)
			if qtype == "AAAA" {
				q.SetEdns0(1232, true)
			}
			b, err := q.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, false)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, tcp bool) {
		q := new(mdns.Msg)
		if q.Unpack(b) != nil || q.Response {
			return
		}
		for _, from := range []string{caller, "127.1.1.77", gateway, "192.0.2.1"} {
			m := s.answer(t.Context(), query{Msg: q.Copy(), asked: netip.MustParseAddr(gateway), from: netip.MustParseAddr(from), tcp: tcp})
			if m == nil || !m.Response || m.Id != q.Id {
				t.Fatalf("%v is answered %v", q, m)
			}
			out, err := m.Pack()
			if err != nil && len(q.Question) == 1 {
				if _, bad := q.Pack(); bad == nil {
					t.Fatalf("the answer to %v cannot be sent: %v", q, err)
				}
			}
			if size := sizeFor(q, tcp); len(out) > size {
				t.Fatalf("the answer to %v has %d bytes, the asker takes %d", q, len(out), size)
			}
		}
	})
}
