// Package ipam chooses the addresses of networks that span hosts: a subnet
// from the cluster's pools where nobody asked for one, its gateway, and the
// identifier that its packets carry between hosts. It is pure: whoever creates
// a network gives it what is taken and proposes what it chose, and the state
// judges whether that is still free.
package ipam
