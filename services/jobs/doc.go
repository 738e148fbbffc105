// Package jobs decides which tasks a job should have: in the current iteration
// of a replicated job one in each of as many slots as it has completions, so
// many at once; of a global job one on every node that is active and matches
// its constraints. A slot is done when its task is complete, and stays done
// until the next iteration. It is pure; the loop of package services calls it
// and proposes what it asks for.
package jobs
