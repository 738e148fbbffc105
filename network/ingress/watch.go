package ingress

import (
	"context"
	"os"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/netns"
	"github.com/swarmctl/swarmctl/network/nft"
)

// The kernel tells nobody when a port that another process had is free, nor
// when a table of the old kind is made or has changed, so both are looked for.
const lookAgain = 2 * time.Second

// Watch calls changed whenever others may have removed what we have set: it
// is for Restore then to look. It returns when ctx ends, or when it may have missed
// something.
func (g *Ingress) Watch(ctx context.Context, changed func()) error {
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return listen(ctx, g.cfg.Host, changed) })
	eg.Go(func() error { return g.look(ctx, changed) })
	return eg.Wait()
}

// listen hears of changes to nftables, and to iptables where it is built on them.
func listen(ctx context.Context, ns *os.File, changed func()) error {
	config := &netlink.Config{}
	if ns != nil {
		config.NetNS = int(ns.Fd())
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, config)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer c.Close()
	if err := c.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return err
	}
	for {
		messages, err := c.Receive()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		for _, m := range messages {
			if concerns(m) {
				changed()
				break
			}
		}
	}
}

// concerns reports whether a change may be one to act upon: our table is gone, the
// table of iptables in which our chain is has changed, or others have chains.
func concerns(m netlink.Message) bool {
	kind := m.Header.Type & 0xff
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || kind == unix.NFT_MSG_NEWGEN || len(m.Data) < 4 {
		return false
	}
	attrs, err := netlink.UnmarshalAttributes(m.Data[4:])
	if err != nil {
		return true
	}
	for _, a := range attrs {
		if a.Type == unix.NFTA_TABLE_NAME { // it is the first of every kind of message
			switch name(a.Data) {
			case nft.TableName:
				return kind == unix.NFT_MSG_DELTABLE
			case "filter":
				return true
			default:
				return kind == unix.NFT_MSG_NEWCHAIN || kind == unix.NFT_MSG_DELCHAIN || kind == unix.NFT_MSG_DELTABLE // what is forwarded may be somebody's business now
			}
		}
	}
	return false
}

func name(b []byte) string { return string(b[:max(0, len(b)-1)]) }

// look asks for what nobody tells.
func (g *Ingress) look(ctx context.Context, changed func()) error {
	last := lookOld(g.space.Path())
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookAgain):
		}
		now := lookOld(g.space.Path())
		if now != last || len(g.Problems()) > 0 {
			changed()
		}
		last = now
	}
}

// old is what is seen of the tables of the old kind.
type old struct {
	tables string
	filter tableInfo // zero where there is none
}

func lookOld(path string) (o old) {
	if o.tables = oldTables(path, false); hasFilter(o.tables) {
		o.filter = legacyFilter(path)
	}
	return o
}

// tableInfo is what the kernel says of an old table; it is zero where there is none.
type tableInfo struct {
	name       [32]byte
	hooks      uint32
	entries    [5]uint32
	underflows [5]uint32
	rules      uint32
	size       uint32
}

// legacyFilter is the old filter table. Asking makes it where there is none.
func legacyFilter(path string) (info tableInfo) {
	_ = netns.Do(path, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		copy(info.name[:], "filter")
		length := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, getInfo,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0)
		if errno != 0 {
			info = tableInfo{}
			return errno
		}
		return nil
	})
	return info
}

// getInfo is the kernel's IPT_SO_GET_INFO.
const getInfo = 64
