package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The registers of 4 bytes in which matches leave what they have found. A key
// of several parts has its parts in registers that follow one another.
const (
	reg  = unix.NFT_REG32_00
	reg2 = unix.NFT_REG32_04 // beyond an IPv6 address in reg
)

// Join is a rule's matches and statements in a row.
func Join(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// field is where a header of the family has an address.
func field(family nftables.TableFamily, v4, v6 uint32, register uint32) *expr.Payload {
	p := &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: v4, Len: 4}
	if family == nftables.TableFamilyIPv6 {
		p.Offset, p.Len = v6, 16
	}
	return p
}

func (b *Batch) saddr() *expr.Payload { return source(b.table.Family) }
func (b *Batch) daddr() *expr.Payload { return field(b.table.Family, 16, 24, reg) }

func source(family nftables.TableFamily) *expr.Payload { return field(family, 12, 8, reg) }

// ToKey leads packets to the chain that the map has for their destination.
func (b *Batch) ToKey(verdicts string) []expr.Any {
	return []expr.Any{b.daddr(), &expr.Lookup{SourceRegister: reg, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: verdicts}}
}

// service loads the protocol and the destination's port.
func service(register uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Payload{DestRegister: register + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

// place loads the protocol and the port, and before them the address where
// the key has one, and returns the lookup's part that is the same for all.
func (b *Batch) place(addressed bool) []expr.Any {
	if !addressed {
		return service(reg)
	}
	d := b.daddr()
	return append([]expr.Any{d}, service(reg+d.Len/4)...)
}

// ToPlace leads packets to the chain that the map has for their protocol and
// port, and their destination where the map's keys have one.
func (b *Batch) ToPlace(verdicts string, addressed bool) []expr.Any {
	return append(b.place(addressed), &expr.Lookup{SourceRegister: reg, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: verdicts})
}

// PlaceIn matches packets whose protocol and port, and destination where the
// set's keys have one, are in the set.
func (b *Batch) PlaceIn(set string, addressed bool) []expr.Any {
	return append(b.place(addressed), &expr.Lookup{SourceRegister: reg, SetName: set})
}

// SourceIn matches packets whose source is in the set.
func (b *Batch) SourceIn(set string) []expr.Any {
	return []expr.Any{b.saddr(), &expr.Lookup{SourceRegister: reg, SetName: set}}
}

// DestinationIn matches packets whose destination is in the set.
func (b *Batch) DestinationIn(set string) []expr.Any {
	return []expr.Any{b.daddr(), &expr.Lookup{SourceRegister: reg, SetName: set}}
}

// Source matches packets from within a prefix, or from anywhere else.
func (b *Batch) Source(op expr.CmpOp, p netip.Prefix) []expr.Any { return within(b.saddr(), op, p) }

// From matches packets from within a prefix, in tables for both families.
func From(p netip.Prefix) []expr.Any {
	is, family := byte(unix.NFPROTO_IPV4), nftables.TableFamilyIPv4
	if p.Addr().Is6() {
		is, family = unix.NFPROTO_IPV6, nftables.TableFamilyIPv6
	}
	return append([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{is}},
	}, within(source(family), expr.CmpOpEq, p)...)
}

// Destination matches packets to within a prefix.
func (b *Batch) Destination(p netip.Prefix) []expr.Any { return within(b.daddr(), expr.CmpOpEq, p) }

func within(load *expr.Payload, op expr.CmpOp, p netip.Prefix) []expr.Any {
	out := []expr.Any{load}
	if p.Bits() < p.Addr().BitLen() {
		out = append(out, mask(load.DestRegister, ones(p), nil))
	}
	return append(out, &expr.Cmp{Op: op, Register: load.DestRegister, Data: p.Masked().Addr().AsSlice()})
}

func ones(p netip.Prefix) []byte {
	m := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

func mask(register uint32, mask, xor []byte) *expr.Bitwise {
	if xor == nil {
		xor = make([]byte, len(mask))
	}
	return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(mask)), Mask: mask, Xor: xor}
}

// SourceLocal and DestinationLocal match packets from and to an address of the
// machine itself.
func SourceLocal() []expr.Any      { return local(&expr.Fib{FlagSADDR: true}, expr.CmpOpEq) }
func DestinationLocal() []expr.Any { return local(&expr.Fib{FlagDADDR: true}, expr.CmpOpEq) }

// DestinationElsewhere matches packets to any other address.
func DestinationElsewhere() []expr.Any { return local(&expr.Fib{FlagDADDR: true}, expr.CmpOpNeq) }

func local(f *expr.Fib, op expr.CmpOp) []expr.Any {
	f.Register, f.ResultADDRTYPE = reg, true
	return []expr.Any{f, &expr.Cmp{Op: op, Register: reg, Data: u32(unix.RTN_LOCAL)}}
}

// InBy and OutBy match packets that come in or go out by an interface.
func InBy(name string) []expr.Any  { return interfaceIs(expr.MetaKeyIIFNAME, name) }
func OutBy(name string) []expr.Any { return interfaceIs(expr.MetaKeyOIFNAME, name) }

func interfaceIs(key expr.MetaKey, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: reg}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: padded}}
}

// Protocol matches packets of a protocol above IP.
func Protocol(n byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{n}}}
}

// ToPort matches packets to a port, of protocols that have any.
func ToPort(n uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.BigEndian.PutUint16(n)},
	}
}

// Untracked keeps a packet from being tracked.
func Untracked() []expr.Any { return []expr.Any{&expr.Notrack{}} }

// New matches the first packet of a connection.
func New() []expr.Any { return ctBits(expr.CtKeySTATE, expr.CtStateBitNEW) }

// Redirected matches packets of connections whose destination was changed.
func Redirected() []expr.Any { return ctBits(expr.CtKeySTATUS, ipsDstNAT) }

// ipsDstNAT is the bit that the kernel's interface calls IPS_DST_NAT.
const ipsDstNAT = 1 << 5

func ctBits(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: reg},
		mask(reg, u32(bits), nil),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: u32(0)},
	}
}

// Reply matches packets of the answering side of a connection.
func Reply() []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{1}}}
}

// Mark matches packets by their mark, and ConnMark by that of their connection.
func Mark(value, m uint32) []expr.Any {
	return marked(&expr.Meta{Key: expr.MetaKeyMARK, Register: reg}, value, m)
}

func ConnMark(value, m uint32) []expr.Any {
	return marked(&expr.Ct{Key: expr.CtKeyMARK, Register: reg}, value, m)
}

func marked(load expr.Any, value, m uint32) []expr.Any {
	return []expr.Any{load, mask(reg, u32(m), nil), &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: u32(value)}}
}

// SetMark marks a packet.
func SetMark(value uint32) []expr.Any {
	return []expr.Any{&expr.Immediate{Register: reg, Data: u32(value)}, setMark}
}

// MarkWithInterface marks a packet with the number of the interface it came in
// by, in the bits that are not of the mask, and a value in those that are.
func MarkWithInterface(value, m uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIF, Register: reg}, mask(reg, u32(^m), u32(value)), setMark}
}

// MarkAsConnection gives a packet the mark of its connection.
func MarkAsConnection() []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyMARK, Register: reg}, setMark}
}

var setMark = &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg}

// shown turns the bytes of a number round. The kernel counts in the byte order
// of the machine, and nft shows what maps have in that of the network.
var shown = &expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 4, Size: 4}

// MarkBySender marks a packet and its connection with what the map has for
// the hardware address that the packet came from. The map's marks are in the byte
// order of the network.
func MarkBySender(marks string) []expr.Any {
	return append(bySender(marks), &expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: reg}, setMark)
}

func bySender(marks string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint16(unix.ARPHRD_ETHER)},
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6},
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: marks},
		shown,
	}
}

// ForThisHost makes the kernel take a packet that was sent to no hardware address as
// one for this host.
func ForThisHost() []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: []byte{unix.PACKET_HOST}},
		&expr.Meta{Key: expr.MetaKeyPKTTYPE, SourceRegister: true, Register: reg},
	}
}

// MayFragment clears the bit of an IPv4 packet that forbids to fragment it.
func MayFragment() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2},
		mask(reg, []byte{0xbf, 0xff}, nil),
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2,
			CsumType: expr.CsumTypeInet, CsumOffset: 10,
		},
	}
}

// Copy sends a copy of the packet to a neighbour on an interface.
func Copy(to netip.Addr, index int) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: to.AsSlice()},
		&expr.Immediate{Register: reg2, Data: u32(uint32(index))},
		&expr.Dup{RegAddr: reg, RegDev: reg2, IsRegDevSet: true},
	}
}

// Jump, Goto, Return and Drop are what becomes of a packet.
func Jump(chain string) []expr.Any { return verdict(expr.VerdictJump, chain) }
func Goto(chain string) []expr.Any { return verdict(expr.VerdictGoto, chain) }
func Drop() []expr.Any             { return verdict(expr.VerdictDrop, "") }
func Return() []expr.Any           { return verdict(expr.VerdictReturn, "") }

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

// SNAT and DNAT change the source and the destination of a connection.
func (b *Batch) SNAT(to netip.Addr) []expr.Any { return b.nat(expr.NATTypeSourceNAT, to) }
func (b *Batch) DNAT(to netip.Addr) []expr.Any { return b.nat(expr.NATTypeDestNAT, to) }

func (b *Batch) nat(kind expr.NATType, to netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: to.AsSlice()},
		&expr.NAT{Type: kind, Family: uint32(b.table.Family), RegAddrMin: reg},
	}
}

// Refuse adds the rules that tell a caller at once that nobody answers. An
// unreachable port is what a connected UDP socket hears of too; an unreachable
// host is not.
func (b *Batch) Refuse(chain, comment string) {
	b.Rule(chain, comment, Protocol(unix.IPPROTO_TCP), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
	code := byte(3) // ICMP_PORT_UNREACH
	if b.table.Family == nftables.TableFamilyIPv6 {
		code = 4 // ICMPV6_PORT_UNREACH
	}
	b.Rule(chain, comment, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code}})
}

func u32(n uint32) []byte { return binaryutil.NativeEndian.PutUint32(n) }

func port(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// Ranges are the elements of a set of prefixes, which must not overlap.
func Ranges(list []netip.Prefix) []nftables.SetElement {
	var out []nftables.SetElement
	for _, p := range list {
		out = append(out, nftables.SetElement{Key: p.Masked().Addr().AsSlice()})
		if end := after(p); end.IsValid() {
			out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}

// after is the first address behind a prefix, none behind the last one.
func after(p netip.Prefix) netip.Addr {
	last := p.Masked().Addr().AsSlice()
	for i, m := range ones(p) {
		last[i] |= ^m
	}
	a, _ := netip.AddrFromSlice(last)
	return a.Next()
}
