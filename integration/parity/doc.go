// Package parity holds swarmctl against a real Docker Swarm. Scripts of docker
// commands in testdata run once against each, both being driven by Docker's own
// CLI, and once more with swarmctl's commands in the place of docker's. What
// they print is compared line by line, standard error and exit codes included.
// docs/parity.md lists every difference that is kept, with its reason; the
// tests read it, so that it cannot say what is not so.
//
// Beside the scripts are programs as others write them, with Docker's client
// for Go unchanged.
package parity
