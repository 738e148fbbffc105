// Package stack turns Compose files into what Docker's API takes: service
// specs, networks, secrets and configs under Docker's names and labels. Load
// reads and checks the files, Convert makes the specs, Against compares them
// with what there is and returns what a deploy has to do. All of it is a
// function of files and environment: it asks nobody, and writes nothing. The
// command line carries the plan out.
package stack
