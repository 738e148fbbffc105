package hosts

import (
	"context"
	"io"
	"net"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Outside is a machine on the hosts' switch that is none of them: where the
// users of what they serve are. It has this machine's files and no power switch.
type Outside struct {
	Addr, Addr6 string
	rack        *Rack
}

// Outside returns the machine beside the hosts.
func (r *Rack) Outside() *Outside {
	return &Outside{Addr: r.addr(theSwitch), Addr6: r.addr6(theSwitch), rack: r}
}

// Feed runs a command in the network outside, as Host.Feed does inside.
func (o *Outside) Feed(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return run(ctx, "outside", func(cmd *exec.Cmd) error { return o.inside(cmd.Start) }, stdin, args)
}

// Dial connects from outside. The address must be numeric.
func (o *Outside) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	dialErr := o.inside(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, dialErr
}

func (o *Outside) inside(f func() error) error {
	return inside("the switch", o.rack.power.Process.Pid, unix.CLONE_NEWNET, f)
}
