// Package replicated decides which tasks a replicated service should have:
// one in each of as many slots as it has replicas, on nodes that are up. It is
// pure; the loop of package services calls it and proposes what it asks for.
package replicated
