package api

import "slices"

// Cluster is the one object that describes the cluster as a whole. It holds
// secrets (the CA's key, the join tokens, the gossip keys), which leave the
// managers only on purpose.
type Cluster struct {
	ID   string
	Spec ClusterSpec
	// RootCert is the CA's certificate and RootKey its key, both in PEM.
	RootCert []byte
	RootKey  []byte
	// NextRoot is what replaces them, while they are being replaced.
	NextRoot *NextRoot `cbor:",omitempty"`
	// WorkerToken and ManagerToken are what a node joins with.
	WorkerToken  string
	ManagerToken string
	// UnlockKey seals what managers keep on disk, where the cluster locks its
	// managers: see package unlock.
	UnlockKey []byte `cbor:",omitempty"`
	// GossipKeys are AES-256 keys; the first one encrypts, all decrypt.
	GossipKeys [][]byte
	// GossipStep is how far the change to a new key has come.
	GossipStep GossipStep `cbor:",omitempty"`
	// AddrPool are the address ranges, in CIDR notation, that networks get
	// their subnets from, and SubnetSize the length of a subnet's prefix.
	// What is empty is as in Docker Swarm: see Pool.
	AddrPool   []string `cbor:",omitempty"`
	SubnetSize uint32   `cbor:",omitempty"`
	// IngressMade: the cluster has had its ingress network. One that was removed
	// since is not made again.
	IngressMade bool `cbor:",omitempty"`
	Meta        Meta
}

// Pool is where networks get their subnets from: /24 out of 10.0.0.0/8, as in
// Docker Swarm, where init was not told otherwise.
func (c *Cluster) Pool() (ranges []string, size uint32) {
	ranges, size = c.AddrPool, c.SubnetSize
	if len(ranges) == 0 {
		ranges = []string{"10.0.0.0/8"}
	}
	if size == 0 {
		size = 24
	}
	return ranges, size
}

// NextRoot is a root on its way to become the cluster's. It signs already.
type NextRoot struct {
	Cert []byte
	Key  []byte
	// Cross is its certificate as the root that it replaces has signed it: with
	// it, whoever trusts that one trusts what this one signs.
	Cross []byte
}

// Signer is the certificate of the root that signs new certificates.
func (c *Cluster) Signer() []byte {
	if c.NextRoot != nil {
		return c.NextRoot.Cert
	}
	return c.RootCert
}

// RootsPEM are the roots that nodes trust; the last one is the Signer.
func (c *Cluster) RootsPEM() []byte {
	if c.NextRoot == nil {
		return c.RootCert
	}
	return slices.Concat(c.RootCert, c.NextRoot.Cert)
}

// GossipStep is a step of the change from one gossip key to the next. Every
// node must have a key before any node encrypts with it.
type GossipStep uint8

// The steps, in their order.
const (
	GossipSettled GossipStep = iota // one key
	GossipSpread                    // the old key encrypts, the new one is second
	GossipSwitch                    // the new key encrypts, the old one is second
)
