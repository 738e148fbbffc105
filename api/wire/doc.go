// Package wire is the protocol between nodes: the messages and services of
// wire.proto, generated, and the few converters between them and the nouns of
// package api. Whoever speaks over the cluster's port uses it; it decides nothing.
package wire
