// Package netns works in other network namespaces: those of containers, found
// by a process in them, and in tests those that stand for hosts.
package netns
