// Package rollout brings the tasks of a service to its current spec, a few
// slots at a time, and says how far it has got. It is pure: Step looks at what
// is there and at nothing else, so that a new leader goes on where the old one
// was. The loop of package services calls it once the number of tasks is right.
package rollout
