// Package restart decides whether, and when, a task that ended by itself gets
// a successor, and when a task that was made to wait may run. It is pure; the
// reconcilers of package services ask it.
package restart
