// Package servicespec decides whether a service's spec is one that the cluster
// can carry out, before it is stored: Normalise gives it the one shape in
// which it is stored and served, ResolveNetworks names its networks by their
// IDs, Validate refuses what breaks a rule of Docker's or is not built yet,
// CheckUpdate what an update may not change, and WithDefaults fills in what an
// unset field means. It is pure; refusals name the field, the rule and the way
// out.
package servicespec
