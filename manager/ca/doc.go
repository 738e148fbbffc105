// Package ca is the cluster's certificate authority: the root that init makes,
// the certificates that it signs, and the service through which nodes get them,
// by join token the first time and by their own certificate afterwards. The root's key
// is replicated state, so every manager can sign. Rotate begins to replace the
// root and Rotated ends it, once all nodes have certificates of its successor.
package ca
