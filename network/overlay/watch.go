package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/netns"
)

// expectation is how an interface was left.
type expectation struct {
	hardware mac // zero: any
	master   int // 0: any
	mtu      int
}

func (o *Overlay) expect(name string, e expectation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expected[name] = e
}

func (o *Overlay) unexpect(names ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		delete(o.expected, name)
	}
}

// Watch calls changed whenever an interface is not as it was left: one of ours,
// or one towards the other hosts that has another MTU. It ends with ctx, or with
// an error when the kernel has dropped messages for want of room.
func (o *Overlay) Watch(ctx context.Context, changed func()) error {
	updates, failed, done := make(chan netlink.LinkUpdate), make(chan error, 1), make(chan struct{})
	err := netns.Do(o.cfg.Netns, func() error {
		return netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
			ErrorCallback: func(err error) {
				select {
				case failed <- err:
				default: // the first one says why
				}
			},
		})
	})
	if err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // until it has seen that nobody listens
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, ok := <-updates:
			if !ok {
				return errors.Join(errors.New("watch interfaces: the kernel tells no more"), take(failed))
			}
			if o.surprising(&u) {
				changed()
			}
		}
	}
}

func take(c chan error) error {
	select {
	case err := <-c:
		return err
	default:
		return nil
	}
}

// surprising reports whether an interface has become other than it was left.
func (o *Overlay) surprising(u *netlink.LinkUpdate) bool {
	at, gone := u.Attrs(), u.Header.Type == unix.RTM_DELLINK
	o.mu.Lock()
	defer o.mu.Unlock()
	if mtu, ok := o.underlay.links[at.Index]; ok {
		return gone || at.MTU != mtu
	}
	e, ok := o.expected[at.Name]
	return ok && (gone || !e.met(at))
}

func (e expectation) met(at *netlink.LinkAttrs) bool {
	return at.MTU == e.mtu && at.Flags&net.FlagUp != 0 && (e.master == 0 || at.MasterIndex == e.master) &&
		(e.hardware == mac{} || slices.Equal(at.HardwareAddr, e.hardware[:]))
}
