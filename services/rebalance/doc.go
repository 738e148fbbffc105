// Package rebalance moves tasks of a replicated service from nodes that have
// more of it than others, when the user asks for it or the service's label does.
// It is pure: Step asks for one successor at a time, and package replicated
// stops the old task when that one runs. The loop of package services calls it
// once nothing else is to be done.
package rebalance
