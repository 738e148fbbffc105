// Package history decides which tasks of the past leave the store: those of
// removed services and slots once they have ended, and the oldest of each slot
// beyond the cluster's limit. A node removes the container of a task that
// leaves. It is pure; the loop of package services calls it.
package history
