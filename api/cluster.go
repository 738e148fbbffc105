package api

// Cluster is the one object that describes the cluster as a whole. It holds
// secrets (the CA's key, the join tokens, the gossip keys), which leave the
// managers only on purpose.
type Cluster struct {
	ID   string
	Spec ClusterSpec
	// RootCert is the CA's certificate and RootKey its key, both in PEM.
	RootCert []byte
	RootKey  []byte
	// WorkerToken and ManagerToken are what a node joins with.
	WorkerToken  string
	ManagerToken string
	// GossipKeys are AES-256 keys; the first one encrypts, all decrypt.
	GossipKeys [][]byte
	// GossipStep is how far the change to a new key has come.
	GossipStep GossipStep `cbor:",omitempty"`
	Meta       Meta
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
