package api

// Secret is something that tasks may read and nobody else. Its data is stored
// as part of the spec and never told by the API; the log and the snapshots on
// disk are encrypted as a whole.
type Secret struct {
	ID   SecretID
	Spec SecretSpec
	Meta Meta
}

// Config is a file that tasks find in their containers.
type Config struct {
	ID   ConfigID
	Spec ConfigSpec
	Meta Meta
}
