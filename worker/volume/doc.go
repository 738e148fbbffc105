// Package volume makes a stream of what is in a local volume, and a volume's
// content of such a stream: owners, modes, times, extended attributes, links,
// devices and holes are kept. It is used on both ends of a move, each on its
// own host, and hands on a Sum for the two to be compared.
package volume
