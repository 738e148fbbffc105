// Package setting reads the labels under "swarmctl." that say what Docker's
// API has no field for: on a service what its containers may do (Parse) and how
// they come and go (ParseLifecycle), on a node how it is drained (ParseNode), on the
// cluster what its services may not (ParsePolicy). It is the only place that
// knows their names and values. Whoever takes a spec in refuses with it what
// does not parse, the state machine asks it which labels containers are made
// from, and the worker makes them.
package setting
