package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/credentials"

	"github.com/swarmctl/swarmctl/api/unlock"
)

// Source holds the identity that is current and makes TLS configurations that
// follow it: every new connection uses the certificate of that moment, so a
// renewal needs no restart and cuts no connection. It also keeps the identity on
// disk, sealed with the unlock key where the cluster locks its managers.
type Source struct {
	current atomic.Pointer[state]

	disk sync.Mutex // held while the file changes
	dir  string
	key  unlock.Key
}

type state struct {
	id      *Identity
	changed chan struct{}
}

// NewSource returns a source that starts with id, as it lies or is to lie in
// dir, sealed with the key if there is one.
func NewSource(id *Identity, dir string, key unlock.Key) *Source {
	s := &Source{dir: dir, key: sealing(id, key)}
	s.current.Store(&state{id, make(chan struct{})})
	return s
}

// sealing is the key that an identity is sealed with: workers are not locked.
func sealing(id *Identity, key unlock.Key) unlock.Key {
	if id.Role != Manager || len(key) == 0 {
		return nil
	}
	return key
}

// Current is the identity to use now.
func (s *Source) Current() *Identity { return s.current.Load().id }

// Watch returns the current identity and a channel that is closed when
// another one takes its place.
func (s *Source) Watch() (*Identity, <-chan struct{}) {
	st := s.current.Load()
	return st.id, st.changed
}

// Save writes the current identity to disk.
func (s *Source) Save() error {
	s.disk.Lock()
	defer s.disk.Unlock()
	return s.Current().Save(s.dir, s.key)
}

// Set replaces the identity, on disk first, for all connections to come. The
// unlock key counts where the node was a worker and is a manager from now on;
// one that was a manager before has Seal called when the key changes.
func (s *Source) Set(id *Identity, key unlock.Key) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	if s.Current().Role == Manager {
		key = s.key
	}
	return s.set(id, key)
}

// Trust replaces the roots that the identity trusts.
func (s *Source) Trust(rootsPEM []byte) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	id, err := s.Current().WithTrust(rootsPEM)
	if err != nil {
		return err
	}
	return s.set(id, s.key)
}

// Seal seals the identity on disk with another key, or with none.
func (s *Source) Seal(key unlock.Key) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	return s.set(s.Current(), key)
}

// set needs s.disk.
func (s *Source) set(id *Identity, key unlock.Key) error {
	key = sealing(id, key)
	if err := id.Save(s.dir, key); err != nil {
		return err
	}
	s.key = key
	if old := s.current.Load(); old.id != id {
		s.current.Store(&state{id, make(chan struct{})})
		close(old.changed)
	}
	return nil
}

// Key is the unlock key that the identity on disk is sealed with, or nil.
func (s *Source) Key() unlock.Key {
	s.disk.Lock()
	defer s.disk.Unlock()
	return s.key
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
	return following{credentials.NewTLS(s.ClientConfig("h2")), s}
}

// following makes a configuration for each connection: a client outlives the
// root that was current when it was made.
type following struct {
	credentials.TransportCredentials
	source *Source
}

// ClientHandshake implements credentials.TransportCredentials.
func (f following) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(f.source.ClientConfig("h2")).ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (f following) Clone() credentials.TransportCredentials { return f }

// StrangerConfig is for connections to managers by a node that knows the
// cluster's root and has no certificate yet.
func StrangerConfig(rootPEM []byte, protos ...string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(rootPEM) // an empty pool trusts nobody
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: protos, ServerName: ManagerOU, RootCAs: pool}
}
