package identity

import (
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
)

// Source holds the identity that is current and makes TLS configurations that
// follow it: every new connection uses the certificate of that moment, so a
// renewal needs no restart and cuts no connection.
type Source struct {
	current atomic.Pointer[state]
}

type state struct {
	id      *Identity
	changed chan struct{}
}

// NewSource returns a source that starts with id.
func NewSource(id *Identity) *Source {
	s := &Source{}
	s.current.Store(&state{id, make(chan struct{})})
	return s
}

// Current is the identity to use now.
func (s *Source) Current() *Identity { return s.current.Load().id }

// Watch returns the current identity and a channel that is closed when
// another one takes its place.
func (s *Source) Watch() (*Identity, <-chan struct{}) {
	st := s.current.Load()
	return st.id, st.changed
}

// Set replaces the identity for all connections to come.
func (s *Source) Set(id *Identity) {
	old := s.current.Swap(&state{id, make(chan struct{})})
	close(old.changed)
}

// ServerConfig is for a listener that speaks the given protocols (ALPN). A
// client may come without a certificate, as a joining node has none; one that
// shows a certificate must have it from this cluster's CA. Whoever serves asks
// PeerFrom before doing anything that a stranger may not.
func (s *Source) ServerConfig(protos ...string) *tls.Config {
	// GetConfigForClient and not GetCertificate, so that the root follows too.
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protos,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			id := s.Current()
			return &tls.Config{
				MinVersion:   tls.VersionTLS13,
				NextProtos:   protos,
				Certificates: []tls.Certificate{id.cert},
				ClientAuth:   tls.VerifyClientCertIfGiven,
				ClientCAs:    id.roots,
				// A resumed session would bring back the certificate, and so the
				// role, that the client had when the session began.
				SessionTicketsDisabled: true,
			}, nil
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &s.Current().cert, nil },
	}
}

// ClientConfig is for connections to managers that speak the given protocols.
// The peer must hold a manager's certificate of this cluster.
func (s *Source) ClientConfig(protos ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protos,
		ServerName: ManagerOU,
		RootCAs:    s.Current().roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &s.Current().cert, nil
		},
	}
}

// ClientCredentials is ClientConfig for a gRPC client.
func (s *Source) ClientCredentials() credentials.TransportCredentials {
	return credentials.NewTLS(s.ClientConfig("h2"))
}

// StrangerConfig is for connections to managers by a node that knows the
// cluster's root and has no certificate yet.
func StrangerConfig(rootPEM []byte, protos ...string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(rootPEM) // an empty pool trusts nobody
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: protos, ServerName: ManagerOU, RootCAs: pool}
}
