// Package docker runs tasks on a Docker Engine. It turns the spec of a task
// into what the Engine API wants of a container (plan.go and its neighbours,
// pure), and wraps the dozen calls that a worker makes (Engine). It is the one
// package of the worker that knows Docker's client; package worker decides what
// is to be called and when.
package docker
