// Package ca is the cluster's certificate authority: the root that init makes,
// the certificates that it signs, and the service through which nodes get them,
// by join token the first time and by their own certificate afterwards. The root's key
// is replicated state, so every manager can sign. Replacing the root is not
// done yet; tokens are replaced by identity.NewToken and an update of the cluster.
package ca
