// Package fastpath carries packets of TCP connections to published ports between a host's
// interfaces and the VXLAN device of the ingress network, as nftables' flowtables do where
// a kernel has those. The usual way is through the host's chains, its routes and the
// network's bridge, twice for each request and its reply.
//
// The kernel's tracking of connections says which they are and what becomes of their
// addresses (bpf_skb_ct_lookup); nothing is kept here. So whatever drops a
// connection there drops it here, and what is not certain takes the usual way: fragments,
// options, IPv6, tasks of this host, and what the tracking has to see, which is the first
// packet each way, the first that ends a connection, and one that resets it. What it misses
// is noted in its entry: that a connection is certain, and how long it lasts. So it may say
// SYN_RECV [ASSURED] of one that is established, and FIN_WAIT of one that has ended. As it
// does not see how far a connection has come, it must not mind (nf_conntrack_tcp_be_liberal),
// whoever carries the next packet.
//
// What it installs lives as long as the program that has installed it. After a change
// to fastpath.c, run `make bpf`.
package fastpath
