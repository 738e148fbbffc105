// Package join fetches certificates from a manager: Join makes a machine a node
// of a cluster, with a token; Renew and the Renewer's loop keep its certificate
// fresh and give it the role that the cluster has for it now. What they fetch
// is on disk, as package identity keeps it, before anybody uses it.
package join
