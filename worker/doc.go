// Package worker runs a node's tasks. It holds a session with one of the
// managers (session.go), which tells it what should run; it watches the
// container engine, which tells it what does run (watch.go); it compares the
// two (decide.go, pure) and acts (runner.go). What happens to tasks goes back to
// the manager in batches (outbox.go). Every node has a worker, managers too.
package worker
