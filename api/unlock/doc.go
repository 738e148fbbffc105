// Package unlock is the key that the managers of a locked cluster need to
// start: its form, which is Docker Swarm's, and what is sealed with it. The
// operator keeps it; the managers have it in the replicated state and in memory,
// never on a disk in plain.
package unlock
