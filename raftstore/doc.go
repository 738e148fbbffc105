// Package raftstore keeps the desired state of a cluster: one history, agreed
// on by the managers with Raft, encrypted on disk, applied to the tables of
// raftstore/state. Every manager runs one Store. Writers propose commands to
// it, whichever manager they are on; readers take views; what only the leader
// does runs in a term scope that ends with its term.
package raftstore
