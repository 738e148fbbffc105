// Package api holds the nouns of the cluster: identifiers, the node, the
// service, the task and its states, and the errors that cross a wire. It is a
// leaf: it knows no other package of the project, and every other package may
// know it. What users specify are Docker's own types; nodes and tasks have
// compact types of their own, which the Docker API projects when it serves them.
package api
