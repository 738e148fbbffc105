// Package global decides which tasks a global service should have: one on
// every node that is active and matches the service's constraints. It is pure;
// the loop of package services calls it and proposes what it asks for.
package global
