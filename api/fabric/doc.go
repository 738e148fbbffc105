// Package fabric is what every node must know of the cluster's networks to
// build its part of them: the networks, where the hosts are, the services and
// who serves them. Managers derive it from the replicated state and send it;
// nodes hold it as a Set and make the kernel agree with it.
package fabric
