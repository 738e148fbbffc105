// Package pods decides which tasks a service of sidecars should have: one beside
// each task of the service that they belong to, on its node, from when that is
// placed until it has ended. It is pure; the loop of package services calls it and
// proposes what it asks for.
package pods
