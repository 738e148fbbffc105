package dns

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// large is 1,000 services of 10 tasks each in one network.
func large() *world {
	w := newWorld("network front 10.0.0.0/8", "host "+self+" front=10.255.255.254", "host n2")
	for i := range 1000 {
		s := &fabric.Service{
			ID: api.ServiceID(fmt.Sprintf("service%d", i)), Name: fmt.Sprintf("stack_service%d", i), Networks: []api.NetworkID{"front"},
			VIPs:    []api.Attachment{{Network: "front", Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}}},
			Aliases: map[api.NetworkID][]string{"front": {fmt.Sprintf("service%d", i)}},
		}
		w.set.Services[s.ID] = s
		for j := range 10 {
			e := largeTask(i, j, fabric.Serving)
			w.set.Endpoints[e.ID] = e
		}
	}
	return w
}

func largeTask(service, slot int, state fabric.EndpointState) *fabric.Endpoint {
	id := fmt.Sprintf("task%d-%d", service, slot)
	return &fabric.Endpoint{
		ID: id, Service: api.ServiceID(fmt.Sprintf("service%d", service)), Node: self, State: state,
		Name:     fmt.Sprintf("stack_service%d.%d.%s", service, slot, id),
		Networks: []api.Attachment{{Network: "front", Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(2 + slot), byte(service >> 8), byte(service)})}}},
	}
}

func BenchmarkWholeFabric(b *testing.B) {
	w := large()
	for b.Loop() {
		newBuilder(self).apply(w.set, nil)
	}
}

// BenchmarkOneEndpoint has one endpoint of 10,000 change.
func BenchmarkOneEndpoint(b *testing.B) {
	w := large()
	builder := newBuilder(self)
	builder.apply(w.set, nil)
	for i := 0; b.Loop(); i++ {
		e := largeTask(i%1000, 3, fabric.EndpointState(i/1000%3))
		w.set.Endpoints[e.ID] = e
		builder.apply(w.set, nil)
	}
}

// BenchmarkAgainFromAnotherManager has a full set come that says nothing new.
func BenchmarkAgainFromAnotherManager(b *testing.B) {
	sets := []*world{large(), large()}
	builder := newBuilder(self)
	for i := 0; b.Loop(); i++ {
		builder.apply(sets[i%2].set, nil)
	}
}

func BenchmarkAnswer(b *testing.B) {
	w := large()
	table, from := w.table(), netip.AddrFrom4([4]byte{10, 2, 0, 7})
	for _, name := range []string{"stack_service7", "tasks.stack_service7"} {
		b.Run(name, func(b *testing.B) {
			q := question(name, "A")
			for b.Loop() {
				if m := table.answer(table.asker(w.gateway("front"), from).networks, q, mdns.MinMsgSize); m == nil {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkQuestions has questions answered over UDP, 16 callers at a time.
func BenchmarkQuestions(b *testing.B) {
	s := start(b, loopback())
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(caller)}}
		c, err := d.Dial("udp", at(s, gateway))
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		question, _ := question("web", "A").Pack()
		answer := make([]byte, mdns.MinMsgSize)
		for pb.Next() {
			if _, err := c.Write(question); err != nil {
				b.Error(err)
			}
			if _, err := c.Read(answer); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "questions/s")
}
