// Package slot holds what the reconcilers of services have in common: the
// tasks of a service by the place they fill, what it means that a task fills
// it, what the leader has seen of tasks by its own clock, and the changes that
// a reconciler asks for. It is pure.
package slot
