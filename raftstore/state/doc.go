// Package state holds the replicated state of a cluster as immutable, indexed
// tables, and the commands that change it. It is pure: a command brings its
// times and IDs along, applying one asks no clock, no network and no random
// source, and equal histories give equal states on every manager. The raftstore
// feeds it committed log entries; everything else reads it through a View,
// which never changes under its reader, and follows it through a Cursor.
package state
