// Package ingress answers published ports on the host: a new connection to one
// is sent on to one of the service's serving tasks, on whatever node it runs, with
// the client's address kept. The host's own rules for what may come in hold for
// published ports. All of it is in tables, chains and a device of our own, which
// are put back when others remove them.
package ingress
