// Package cli is swarmctl's command line. Its verbs, flags, columns, progress
// and exit codes are those of Docker's own CLI. It parses what the user typed,
// turns flags into Docker's specs (pure functions), speaks to the daemon's
// socket with the Docker client, and prints the answer. The daemon itself is
// handed in by main.
//
// Exit codes: 0; 1 for an error, also for an update or rollback that paused; 3
// for an update that failed and was rolled back; 124 where --timeout passed;
// 125 for a command line that does not parse.
package cli
