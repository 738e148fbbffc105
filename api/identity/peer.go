package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/swarmctl/swarmctl/api"
)

// PeerFrom says who is at the other end of a TLS connection. Its errors have
// code forbidden: the peer showed no certificate, or none that was verified.
func PeerFrom(cs tls.ConnectionState) (Peer, error) {
	if len(cs.VerifiedChains) == 0 || len(cs.VerifiedChains[0]) == 0 {
		return Peer{}, api.Errorf(api.CodeForbidden, "the caller has no certificate of this cluster: join it first")
	}
	return peerOf(cs.VerifiedChains[0][0])
}

// PeerFromContext says who makes a gRPC call, as PeerFrom does.
func PeerFromContext(ctx context.Context) (Peer, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, api.Errorf(api.CodeForbidden, "the call did not come over the network")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return Peer{}, api.Errorf(api.CodeForbidden, "the call did not come over TLS")
	}
	return PeerFrom(info.State)
}

// peerOf reads what a certificate of ours says of its holder.
func peerOf(leaf *x509.Certificate) (Peer, error) {
	s := leaf.Subject
	if s.CommonName == "" || len(s.Organization) != 1 || len(s.OrganizationalUnit) != 1 {
		return Peer{}, api.Errorf(api.CodeForbidden, "the certificate %q names no node, cluster and role", s.String())
	}
	p := Peer{NodeID: api.NodeID(s.CommonName), ClusterID: s.Organization[0]}
	switch s.OrganizationalUnit[0] {
	case ManagerOU:
		p.Role = Manager
	case WorkerOU:
		p.Role = Worker
	default:
		return Peer{}, api.Errorf(api.CodeForbidden, "the certificate of node %q has the unknown role %q", s.CommonName, s.OrganizationalUnit[0])
	}
	return p, nil
}
