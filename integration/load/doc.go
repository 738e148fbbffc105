// Package load asks a server again and again, over HTTP or UDP, and counts who
// answered and whom the server saw. It is the client of scenarios and
// measurements: the demo program runs it in containers, on nodes and outside.
package load
