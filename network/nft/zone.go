package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ZoneBySender adds a rule to a chain that packets pass before they are
// tracked: what the map has for the hardware address that a packet came from becomes
// the zone of its connection, in the direction of the packet alone (`ct original zone
// set`). So the same addresses and ports by two senders are two connections, and
// the kernel gives the second another source port within the machine, since replies
// have no zone that would tell them apart. The map's lower 16 bits are the zone, in
// the byte order of the network. The rule is a transaction of its own, for nftables'
// package knows no direction of a zone.
func (s *Space) ZoneBySender(family nftables.TableFamily, chain, zones, comment string) error {
	rule, err := zoneRule(family, chain, zones, comment)
	if err != nil {
		return fmt.Errorf("rule for zones: %w", err)
	}
	c, err := s.tracking()
	if err != nil {
		return err
	}
	_, err = c.SendMessages([]netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)},
		rule,
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)},
	})
	if err == nil {
		_, err = c.Receive()
	}
	if err != nil {
		s.untrack() // what the kernel has still to say is not for the next question
		return fmt.Errorf("rule for zones: %w", err)
	}
	return nil
}

// Rules is how many rules a chain has in the kernel. Nftables' package would read
// them too, and fail at what it has no word for.
func (s *Space) Rules(family nftables.TableFamily, chain string) (int, error) {
	c, err := s.tracking()
	if err != nil {
		return 0, err
	}
	e := netlink.NewAttributeEncoder()
	e.String(unix.NFTA_RULE_TABLE, TableName)
	e.String(unix.NFTA_RULE_CHAIN, chain)
	data, err := e.Encode()
	if err != nil {
		return 0, err
	}
	rules, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
		Data:   append(header(byte(family), 0), data...),
	})
	if errors.Is(err, unix.ENOENT) {
		return 0, nil // it has gone this moment
	}
	if err != nil {
		s.untrack()
		return 0, fmt.Errorf("rules of chain %s: %w", chain, err)
	}
	return len(rules), nil
}

func zoneRule(family nftables.TableFamily, chain, zones, comment string) (netlink.Message, error) {
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.String(unix.NFTA_RULE_TABLE, TableName)
	e.String(unix.NFTA_RULE_CHAIN, chain)
	e.Nested(unix.NFTA_RULE_EXPRESSIONS, func(list *netlink.AttributeEncoder) error {
		for _, part := range bySender(zones) {
			data, err := expr.Marshal(byte(family), part)
			if err != nil {
				return err
			}
			list.Bytes(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, data)
		}
		list.Nested(unix.NFTA_LIST_ELEM, setZone)
		return nil
	})
	e.Bytes(unix.NFTA_RULE_USERDATA, commented(comment))
	data, err := e.Encode()
	return netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE,
			Flags: netlink.Request | netlink.Create | netlink.Append | netlink.Acknowledge,
		},
		Data: append(header(byte(family), 0), data...),
	}, err
}

// setZone is the expression that nftables' package cannot say.
func setZone(e *netlink.AttributeEncoder) error {
	e.String(unix.NFTA_EXPR_NAME, "ct")
	e.Nested(unix.NFTA_EXPR_DATA, func(e *netlink.AttributeEncoder) error {
		e.Uint32(unix.NFTA_CT_KEY, unix.NFT_CT_ZONE)
		e.Uint32(unix.NFTA_CT_SREG, reg)
		e.Uint8(unix.NFTA_CT_DIRECTION, 0) // original
		return nil
	})
	return nil
}

// header is what messages to netfilter begin with (nfgenmsg).
func header(family byte, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}
