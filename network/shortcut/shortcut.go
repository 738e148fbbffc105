package shortcut

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/swarmctl/swarmctl/network/tcx"
)

// MAC is a hardware address that can be compared.
type MAC = [6]byte

// mostStations is how many stations a table has room for; for more the frames go
// over the bridge. The kernel makes room as it is needed.
const mostStations = 1 << 17

// Shortcut is that of one network on one host. Far must be called one at a time,
// and Close last; everything else may be called at any time.
type Shortcut struct {
	netns    string
	vxlan    int // index of the interface
	maps     []*ebpf.Map
	far      *table
	near     *table
	inbound  link.Link
	outbound *ebpf.Program

	mu     sync.Mutex // guards these, and near
	cables map[int]cable
}

// cable is that of a container.
type cable struct {
	hw       MAC
	outbound link.Link
}

// table says behind which interface a station is.
type table = tcx.Table[station, uint32]

// station is a key: the kernel's tables want theirs to fill words.
type station [8]byte

func key(hw MAC) (k station) { copy(k[:], hw[:]); return k }

// New installs the shortcut of the network that has a VXLAN device, for nobody
// yet. netns is the path of the host's network namespace; empty: the program's own.
func New(netns string, vxlan int) (s *Shortcut, err error) {
	s = &Shortcut{netns: netns, vxlan: vxlan, cables: map[int]cable{}}
	defer func() {
		if err != nil {
			s.Close()
			s, err = nil, fmt.Errorf("shortcut: %w", tcx.Supported(err))
		}
	}()
	for _, name := range []string{"sw_far", "sw_near"} {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Hash, KeySize: 8, ValueSize: 4, MaxEntries: mostStations, Flags: noPrealloc})
		if err != nil {
			return s, err
		}
		s.maps = append(s.maps, m)
	}
	s.far, s.near = tcx.Of[station, uint32](s.maps[0]), tcx.Of[station, uint32](s.maps[1])
	if s.outbound, err = program("sw_outbound", outwards(s.maps[0])); err != nil {
		return s, err
	}
	inbound, err := program("sw_inbound", inwards(s.maps[1]))
	if err != nil {
		return s, err
	}
	defer inbound.Close() // the interface keeps it
	s.inbound, err = tcx.Attach(netns, vxlan, inbound)
	return s, err
}

// Serves reports whether it is the one for a VXLAN device.
func (s *Shortcut) Serves(vxlan int) bool { return s.vxlan == vxlan }

// Far says which stations are on other hosts, all of them; at which, the device
// knows.
func (s *Shortcut) Far(stations map[MAC]netip.Addr) error {
	wanted := make(map[station]uint32, len(stations))
	for hw := range stations {
		wanted[key(hw)] = uint32(s.vxlan) //nolint:gosec // an index is positive
	}
	return s.far.Agree(wanted)
}

// Join lets a container take the shortcut: outside is the host's end of its
// cable, and hw its hardware address.
func (s *Shortcut) Join(outside int, hw MAC) error {
	l, err := tcx.Attach(s.netns, outside, s.outbound)
	if err != nil {
		return fmt.Errorf("shortcut: interface %d: %w", outside, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock() // what follows writes to memory, and no more
	s.cables[outside].close()
	s.cables[outside] = cable{hw, l}
	return s.noteNear()
}

// Leave ends it for a container. The kernel has done its part where the
// interface is gone.
func (s *Shortcut) Leave(outside int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cables[outside].close()
	delete(s.cables, outside)
	return s.noteNear()
}

func (s *Shortcut) noteNear() error {
	wanted := make(map[station]uint32, len(s.cables))
	for index, c := range s.cables {
		wanted[key(c.hw)] = uint32(index) //nolint:gosec // an index is positive
	}
	return s.near.Agree(wanted)
}

// Joined are the containers that take it, by the host's end of their cables.
func (s *Shortcut) Joined() map[int]MAC {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[int]MAC{}
	for index, c := range s.cables {
		out[index] = c.hw
	}
	return out
}

// Close takes it away.
func (s *Shortcut) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.cables {
		c.close()
	}
	clear(s.cables)
	if s.inbound != nil {
		_ = s.inbound.Close()
	}
	if s.outbound != nil {
		_ = s.outbound.Close()
	}
	for _, m := range s.maps {
		_ = m.Close()
	}
}

func (c cable) close() {
	if c.outbound != nil {
		_ = c.outbound.Close()
	}
}
