package balance

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/netns"
)

const (
	// underWay is how long a packet may still be on its way when the balancer
	// that has sent it knows better. Between hosts of one site it is a millisecond; the
	// queues of a starved host's kernel take the rest.
	underWay = 50 * time.Millisecond
	// settleLook is how often the queues are looked at, settlePatience for how long.
	// A program that accepts nothing for a second will not accept either.
	settleLook     = 20 * time.Millisecond
	settlePatience = time.Second
)

// Settle returns when a container which no balancer sends new connections to any
// more has accepted those that were under way: a server that is told to stop
// closes its listening sockets first, and the kernel resets whatever is still in
// their queues. It waits no longer than a second, or than ctx, and is silent about
// a container that it has no charge of.
func (b *Balancer) Settle(ctx context.Context, id string) error {
	b.mu.Lock()
	c := b.containers[id]
	b.mu.Unlock()
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	wait := time.NewTimer(underWay)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		n, err := c.knocking()
		if err != nil || n == 0 {
			return err
		}
		wait.Reset(settleLook)
	}
}

// knocking is how many connections the container's programs have not accepted yet.
func (c *container) knocking() (n int, err error) {
	err = c.work(func() error {
		return netns.Do(c.space.Path(), func() error {
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				more, err := backlog(family)
				if err != nil {
					return fmt.Errorf("listening sockets of container %s: %w", c.id, err)
				}
				n += more
			}
			return nil
		})
	})
	return n, err
}

// backlog counts connections that wait to be accepted by the listening sockets of
// the thread's namespace, and those whose handshake is not over. See sock_diag(7):
// of a listening socket, idiag_rqueue is the length of its queue.
func backlog(family uint8) (n int, err error) {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(diagRequest(family))
	err = req.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(m []byte) bool {
		const state, rqueue, size = 1, 56, 60
		switch {
		case len(m) < size:
		case m[state] == tcpSynRecv:
			n++
		default:
			n += int(binary.NativeEndian.Uint32(m[rqueue:]))
		}
		return true
	})
	return n, err
}

// States of TCP, as in the kernel's include/net/tcp_states.h.
const (
	tcpSynRecv = 3
	tcpListen  = 10
)

// diagRequest is the kernel's struct inet_diag_req_v2 for the sockets of a family
// that listen, or are about to be accepted.
type diagRequest uint8

func (diagRequest) Len() int { return 56 }

func (d diagRequest) Serialize() []byte {
	b := make([]byte, d.Len())
	b[0], b[1] = byte(d), unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], 1<<tcpListen|1<<tcpSynRecv)
	return b
}
