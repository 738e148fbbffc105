package balance

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/netns"
)

const (
	// underWay is how long a packet may still be on its way when the balancer
	// that has sent it knows better: so long nothing new must have come. Between
	// hosts of one site it is a millisecond; the queues of a starved host's kernel
	// take the rest, and let go of many at once.
	underWay = 50 * time.Millisecond
	// settleLook is how often queues that are not empty are looked at, and
	// settlePatience how long a container is waited for. A program that accepts
	// nothing for a second will not accept either, and whoever calls it for longer
	// does not ask a balancer.
	settleLook     = 20 * time.Millisecond
	settlePatience = time.Second
)

// Settle returns when a container which no balancer sends new connections to any
// more gets none, and has accepted those that were under way: a server that is told
// to stop closes its listening sockets first, and the kernel resets whatever is still
// in their queues, and refuses what comes later. It waits no longer than a second, or
// than ctx, and is silent about a container that it has no charge of.
func (b *Balancer) Settle(ctx context.Context, id string) error {
	b.mu.Lock()
	c := b.containers[id]
	b.mu.Unlock()
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	before, err := c.arrivals()
	pause := underWay
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		var now arrivals
		if now, err = c.arrivals(); now.opened == before.opened && now.waiting == 0 {
			return err
		}
		if pause = settleLook; now.opened != before.opened {
			pause = underWay
		}
		before = now
	}
	return err
}

// arrivals are the TCP connections that have come to a container.
type arrivals struct {
	opened  uint64 // since it was made
	waiting int    // not accepted by its programs yet
}

func (c *container) arrivals() (a arrivals, err error) {
	err = c.work(func() error {
		return netns.Do(c.space.Path(), func() (err error) {
			if a.opened, err = opened(); err != nil {
				return fmt.Errorf("connections of container %s: %w", c.id, err)
			}
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				more, err := backlog(family)
				if err != nil {
					return fmt.Errorf("listening sockets of container %s: %w", c.id, err)
				}
				a.waiting += more
			}
			return nil
		})
	})
	return a, err
}

// opened is how many connections have come to the thread's namespace: PassiveOpens
// in /proc/net/snmp, where a line of names is followed by one of values.
func opened() (uint64, error) {
	data, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Tcp:" {
			continue
		}
		if i := slices.Index(names, "PassiveOpens"); i > 0 && i < len(fields) {
			return strconv.ParseUint(fields[i], 10, 64)
		}
		names = fields
	}
	return 0, errors.New("the kernel does not count them")
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
