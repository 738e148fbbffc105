//go:build ignore

// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Packets of TCP connections to published ports, in both directions. The kernel's own
// tracking of connections says which they are and what their addresses become; nothing is
// kept here. Whatever is not certain goes the usual way.
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NEXT -1 /* TCX_NEXT: as if nothing had looked at the packet */
#define FRAGMENT 0x3fff /* more fragments, or not the first */

// What is read of a tracked connection; where it is, the running kernel says.
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
union nf_inet_addr {
	__be32 ip;
};
union nf_conntrack_man_proto {
	__be16 all;
};
struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
};
struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
		} u;
	} dst;
};
struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};
struct ip_ct_tcp {
	__u8 state;
};
union nf_conntrack_proto {
	struct ip_ct_tcp tcp;
};
struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
	union nf_conntrack_proto proto;
};
#pragma clang attribute pop

enum { ORIGINAL, REPLY };
enum { SYN_RECV = 2, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT }; // of enum tcp_conntrack

// Of enum ip_conntrack_status.
#define SEEN_REPLY (1 << 1)
#define ASSURED (1 << 2)
#define CONFIRMED (1 << 3)
#define SRC_NAT (1 << 4)
#define DST_NAT (1 << 5)
#define SEQ_ADJUST (1 << 6)
#define DYING (1 << 9)
#define HELPER (1 << 13)

struct bpf_ct_opts___12 {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};

extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 size,
					 struct bpf_ct_opts___12 *opts, __u32 opts_size) __ksym;
extern void bpf_ct_release(struct nf_conn *ct) __ksym;
extern int bpf_ct_change_timeout(struct nf_conn *ct, __u32 milliseconds) __ksym;
extern int bpf_ct_change_status(struct nf_conn *ct, __u32 status) __ksym;

// What this was compiled from, by its SHA-256.
volatile const char source[65] = SOURCE;

// Set before the programs are loaded.
volatile const __u32 vxlan = 0;	  // the network's device
volatile const __u32 bridge = 0;  // and its bridge, by which routes are looked up
volatile const __u32 idle = 0;	  // for how long a connection is tracked of which nothing is heard, in milliseconds
volatile const __u32 closing = 0; // and one that is being closed
volatile const __u32 let_in = 0;  // the mark of packets that have been let in, by
volatile const __u32 by = 0;	  // the interface in these bits of it
volatile const __u8 own[ETH_ALEN] = {};	  // the bridge's hardware address

// What is done for a published port.
enum {
	CARRY = 1, // its connections are carried
	OPEN = 2,  // and the host has no rules for who is let in
};

// The published ports, in network order.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be16);
	__type(value, __u8);
} ports SEC(".maps");

struct hardware {
	__u8 addr[ETH_ALEN];
	__u8 unused[2];
};

// The tasks on other hosts.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be32);
	__type(value, struct hardware);
} tasks SEC(".maps");

// The interfaces by which clients come.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} doors SEC(".maps");

struct headers {
	struct ethhdr *eth;
	struct iphdr *ip;
	struct tcphdr *tcp;
};

#define headers_len (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct tcphdr))

// parse is whether the packet is one of TCP, and nothing special.
static __always_inline bool parse(struct __sk_buff *skb, struct headers *h)
{
	void *data, *end;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present)
		return false;
	if (skb->data_end - skb->data < headers_len && bpf_skb_pull_data(skb, headers_len))
		return false;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + headers_len > end)
		return false;
	h->eth = data;
	h->ip = data + sizeof(struct ethhdr);
	h->tcp = data + sizeof(struct ethhdr) + sizeof(struct iphdr);
	return h->ip->ihl == 5 && h->ip->protocol == IPPROTO_TCP && h->ip->ttl > 1 &&
	       !(h->ip->frag_off & bpf_htons(FRAGMENT)) && !h->tcp->rst;
}

// tracked is the connection of a packet; who gets it releases it.
static __always_inline struct nf_conn *tracked(struct __sk_buff *skb, const struct headers *h)
{
	struct bpf_ct_opts___12 opts = { .netns_id = -1, .l4proto = IPPROTO_TCP };
	struct bpf_sock_tuple tuple = {
		.ipv4 = { h->ip->saddr, h->ip->daddr, h->tcp->source, h->tcp->dest },
	};

	return bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
}

// midst is whether the tracking need not see a packet that goes in a direction: the
// connection is established, or becomes so with this one, or its end has begun. What
// depends on the packet is done: the entry is certain, and lasts.
static __always_inline bool midst(struct nf_conn *ct, const struct headers *h, int dir)
{
	switch (ct->proto.tcp.state) {
	case SYN_RECV: // as far as the tracking sees, for as long as this carries the connection
		if (h->tcp->fin || (!(ct->status & ASSURED) && (dir != ORIGINAL || bpf_ct_change_status(ct, ct->status | ASSURED))))
			return false;
		bpf_ct_change_timeout(ct, idle);
		return true;
	case ESTABLISHED:
		if (h->tcp->fin || !(ct->status & ASSURED))
			return false;
		bpf_ct_change_timeout(ct, idle);
		return true;
	case FIN_WAIT:
	case CLOSE_WAIT:
	case LAST_ACK:
	case TIME_WAIT:
		bpf_ct_change_timeout(ct, closing);
		return true;
	}
	return false;
}

// carried is whether a packet that goes in a direction is one of a connection to a task
// that the tracking need not see: what its destination or source was, and what that becomes.
static __always_inline bool carried(struct __sk_buff *skb, const struct headers *h, int dir, __be32 *to, __be16 *port)
{
	const unsigned long must = SEEN_REPLY | CONFIRMED | DST_NAT;
	const unsigned long must_not = SRC_NAT | SEQ_ADJUST | DYING | HELPER;
	struct nf_conn *ct = tracked(skb, h);
	bool found = false;

	if (!ct)
		return false;
	if ((ct->status & (must | must_not)) == must) {
		if (dir == ORIGINAL) {
			*to = ct->tuplehash[REPLY].tuple.src.u3.ip;
			*port = ct->tuplehash[REPLY].tuple.src.u.all;
			found = ct->tuplehash[ORIGINAL].tuple.dst.u3.ip == h->ip->daddr &&
				ct->tuplehash[ORIGINAL].tuple.dst.u.all == h->tcp->dest &&
				ct->tuplehash[ORIGINAL].tuple.src.u3.ip == h->ip->saddr;
		} else {
			*to = ct->tuplehash[ORIGINAL].tuple.dst.u3.ip;
			*port = ct->tuplehash[ORIGINAL].tuple.dst.u.all;
			found = ct->tuplehash[REPLY].tuple.src.u3.ip == h->ip->saddr &&
				ct->tuplehash[REPLY].tuple.src.u.all == h->tcp->source &&
				ct->tuplehash[REPLY].tuple.dst.u3.ip == h->ip->daddr;
		}
		found = found && midst(ct, h, dir);
	}
	bpf_ct_release(ct);
	return found;
}

// begin is for the first packet of a connection, which goes the usual way. The tracking may
// have missed the end of another one between the same ports, and would take it for part of that.
static __always_inline void begin(struct __sk_buff *skb, const struct headers *h, __u8 published)
{
	struct nf_conn *ct = tracked(skb, h);

	if (ct) {
		if ((ct->status & DST_NAT) && ct->proto.tcp.state >= FIN_WAIT && ct->proto.tcp.state <= LAST_ACK)
			bpf_ct_change_timeout(ct, 0);
		bpf_ct_release(ct);
	}
	if (published == OPEN && !skb->mark)
		skb->mark = let_in | (skb->ifindex & by);
}

// front is the part of a packet that is written anew, at once.
struct front {
	struct ethhdr eth;
	struct iphdr ip;
	__be16 source, dest;
} __attribute__((packed));

#define TCP_CHECK (sizeof(struct ethhdr) + sizeof(struct iphdr) + offsetof(struct tcphdr, check))

static __always_inline struct front front(const struct headers *h)
{
	return (struct front){ .eth = *h->eth, .ip = *h->ip, .source = h->tcp->source, .dest = h->tcp->dest };
}

// adjusted is the checksum of a header after a change of an address and of one more word, see RFC 1624.
static __always_inline __sum16 adjusted(__sum16 check, __be32 old, __be32 addr, __be16 was, __be16 is)
{
	__u32 sum = (__u16)~check;

	sum += (__u16)~old + (__u16)~(old >> 16) + (__u16)addr + (addr >> 16) + (__u16)~was + is;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

// forward has a packet in the midst of a connection leave by an interface, with this front,
// in which one address and one port are others than they were, and a hop less.
static __always_inline int forward(struct __sk_buff *skb, __u32 out, struct front *f, __be32 old, __be32 addr, __be16 old_port, __be16 port)
{
	f->ip.check = adjusted(f->ip.check, old, addr, bpf_htons(f->ip.ttl << 8), bpf_htons((f->ip.ttl - 1) << 8));
	f->ip.ttl--;
	if (bpf_l4_csum_replace(skb, TCP_CHECK, old, addr, BPF_F_PSEUDO_HDR | sizeof(addr)) ||
	    bpf_l4_csum_replace(skb, TCP_CHECK, old_port, port, sizeof(port)) || bpf_skb_store_bytes(skb, 0, f, sizeof(*f), 0))
		return TC_ACT_SHOT;
	return bpf_redirect(out, 0);
}

// to_task is on the interfaces by which clients come.
SEC("tc")
int to_task(struct __sk_buff *skb)
{
	__u32 mtu = 0;
	struct headers h;
	struct front f;
	struct hardware *task;
	__u8 *published;
	__be32 to;
	__be16 port;

	if (skb->pkt_type != 0 /* PACKET_HOST */ || !parse(skb, &h))
		return NEXT;
	published = bpf_map_lookup_elem(&ports, &h.tcp->dest);
	if (!published)
		return NEXT;
	if (h.tcp->syn) {
		if (!h.tcp->ack)
			begin(skb, &h, *published);
		return NEXT;
	}
	if (!carried(skb, &h, ORIGINAL, &to, &port))
		return NEXT;
	task = bpf_map_lookup_elem(&tasks, &to);
	if (!task || bpf_check_mtu(skb, vxlan, &mtu, 0, BPF_MTU_CHK_SEGS))
		return NEXT;
	f = front(&h);
	__builtin_memcpy(f.eth.h_dest, task->addr, ETH_ALEN);
	for (int i = 0; i < ETH_ALEN; i++)
		f.eth.h_source[i] = own[i];
	f.ip.daddr = to;
	f.dest = port;
	return forward(skb, vxlan, &f, h.ip->daddr, to, h.tcp->dest, port);
}

// to_client is on the network's device, where frames of tasks on other hosts arrive. What is
// for the host but not carried has the bridge passed by.
SEC("tc")
int to_client(struct __sk_buff *skb)
{
	struct bpf_fib_lookup way = { .family = 2 /* AF_INET */, .l4_protocol = IPPROTO_TCP, .ifindex = bridge };
	struct headers h;
	struct front f;
	__be32 from;
	__be16 port;

	if (!parse(skb, &h))
		return NEXT;
	for (int i = 0; i < ETH_ALEN; i++) {
		if (h.eth->h_dest[i] != own[i])
			return NEXT;
	}
	if (h.tcp->syn || !carried(skb, &h, REPLY, &from, &port))
		return bpf_redirect(bridge, BPF_F_INGRESS);
	way.tos = h.ip->tos;
	way.sport = h.tcp->source;
	way.dport = h.tcp->dest;
	way.ipv4_src = h.ip->saddr;
	way.ipv4_dst = h.ip->daddr;
	if (bpf_fib_lookup(skb, &way, sizeof(way), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return NEXT;
	if (!bpf_map_lookup_elem(&doors, &way.ifindex))
		return NEXT;
	f = front(&h);
	__builtin_memcpy(f.eth.h_dest, way.dmac, ETH_ALEN);
	__builtin_memcpy(f.eth.h_source, way.smac, ETH_ALEN);
	f.ip.saddr = from;
	f.source = port;
	return forward(skb, way.ifindex, &f, h.ip->saddr, from, h.tcp->source, port);
}

char __license[] SEC("license") = "Dual MIT/GPL";
