package api

import (
	"crypto/rand"
	"math/big"
	"strings"
)

// NodeID names a node for as long as it is a member of a cluster.
type NodeID string

// ServiceID names a service.
type ServiceID string

// TaskID names a task: one attempt to run one replica of a service.
type TaskID string

// SecretID names a secret.
type SecretID string

// ConfigID names a config.
type ConfigID string

// NetworkID names a network that spans the hosts of the cluster.
type NetworkID string

// idLength is the length of every ID: 25 digits of base 36 hold 128 bits.
// Docker Swarm's IDs have the same shape, so tools that check for it accept ours.
const idLength = 25

// NewID returns a random identifier of 25 lower-case letters and digits.
// 128 random bits make two equal IDs in one cluster practically impossible.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	s := new(big.Int).SetBytes(b[:]).Text(36)
	return strings.Repeat("0", idLength-len(s)) + s
}
