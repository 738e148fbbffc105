package ingress

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/fastpath"
	"github.com/swarmctl/swarmctl/network/netns"
)

// lenient is on the gate where we have set the host to let connections be whose
// windows its tracking has not seen, so that the last one to leave sets it back.
const lenient = "swarmctl has set net.netfilter.nf_conntrack_tcp_be_liberal"

// express is what the host has of the fast path.
type express struct {
	path    string // of the namespace
	way     *fastpath.FastPath
	none    bool // the kernel has none to give
	looked  bool // at the host's interfaces
	asked   bool // whether it is guarded
	guarded bool // others want to see each packet that is forwarded
	open    bool // nobody has a say in who is let in
	said    string
}

// agree has connections take the fast path.
func (x *express) agree(p *plan, taken map[place]bool) error {
	if x.none || x.guarded || !p.gateways[0].IsValid() {
		x.close()
		return nil
	}
	h, err := netns.Handle(x.path)
	if err != nil {
		return err
	}
	defer h.Close()
	at := fastpath.Network{Gateway: p.gateways[0], LetIn: letIn, By: ^uint32(letInMask)}
	for name, index := range map[string]*int{p.bridge: &at.Bridge, p.vxlan: &at.VXLAN} {
		link, err := h.LinkByName(name)
		if err != nil {
			return x.without(fmt.Errorf("interface %s: %w", name, err))
		}
		*index = link.Attrs().Index
	}
	if x.way == nil || !x.way.Serves(at) {
		x.close()
		if err := beLenient(h, x.path); err != nil {
			return x.without(err)
		}
		if x.way, err = fastpath.New(x.path, at); err != nil {
			return x.without(err)
		}
	}
	errs := []error{x.way.Ports(p.tcp(x.open, taken)), x.way.Tasks(p.far)}
	if !x.looked {
		err := x.way.Look()
		x.looked = err == nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// without goes on without: until the interfaces are made again, if it is for them, and
// for good otherwise.
func (x *express) without(err error) error {
	x.close()
	x.none = !isAbsent(err)
	return err
}

// isAbsent tells an interface that is not there, and will be.
func isAbsent(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.As(err, &netlink.LinkNotFoundError{})
}

// forget has the host looked at again.
func (x *express) forget() { x.looked, x.asked = false, false }

func (x *express) close() {
	if x.way != nil {
		x.way.Close()
	}
	x.way, x.looked = nil, false
}

// beLenient sets the host, and notes it at the gate.
func beLenient(h *netlink.Handle, path string) error {
	if yes, err := fastpath.IsLiberal(path); yes || err != nil {
		return err
	}
	gate, err := h.LinkByName(gateName)
	if err != nil {
		return err
	}
	if err := h.LinkSetAlias(gate, lenient); err != nil {
		return err
	}
	return fastpath.BeLiberal(path, true)
}
