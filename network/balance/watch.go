package balance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/nft"
)

// Watch calls changed when another program has deleted rules of ours in a
// container: it is for Restore then to look. One socket hears of all containers
// that are attached. It returns when ctx ends, or when it may have missed something.
func (b *Balancer) Watch(ctx context.Context, changed func()) error {
	own, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return err
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("hear of rules: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer c.Close()
	if err := errors.Join(c.SetOption(netlink.ListenAllNSID, true), c.JoinGroup(unix.NFNLGRP_NFTABLES)); err != nil {
		return fmt.Errorf("hear of rules: %w", err)
	}
	e := ear{own: strings.TrimSpace(string(own))}
	for {
		messages, err := c.Receive()
		if err != nil {
			return errors.Join(ctx.Err(), err)
		}
		for _, m := range messages {
			if e.hears(m) {
				changed()
			}
		}
	}
}

// heard lets the events of a namespace reach Watch, which hears of those that
// have a number in the host's. A container's cable gives it one as well, once
// somebody has asked for the interfaces.
func heard(ns *os.File) error {
	err := vnetlink.SetNetNsIdByFd(int(ns.Fd()), -1) // any
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// ear makes sense of what the kernel tells of a transaction: each change, and
// at its end who made it.
type ear struct {
	own  string // what this program is called
	ours bool   // something of ours was deleted
}

// hears reports that somebody else has deleted something of ours.
func (e *ear) hears(m netlink.Message) bool {
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < 4 {
		return false
	}
	attrs, err := netlink.UnmarshalAttributes(m.Data[4:])
	if err != nil {
		return false
	}
	switch kind := m.Header.Type & 0xff; kind {
	case unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE, unix.NFT_MSG_DELSET, unix.NFT_MSG_DELSETELEM:
		e.ours = e.ours || attribute(attrs, unix.NFTA_TABLE_NAME) == nft.TableName // the first of every kind of message
	case unix.NFT_MSG_NEWGEN:
		ours := e.ours
		e.ours = false
		return ours && attribute(attrs, unix.NFTA_GEN_PROC_NAME) != e.own
	}
	return false
}

func attribute(attrs []netlink.Attribute, kind uint16) string {
	for _, a := range attrs {
		if a.Type == kind {
			return string(bytes.TrimRight(a.Data, "\x00"))
		}
	}
	return ""
}
