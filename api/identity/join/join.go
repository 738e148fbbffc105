package join

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/unlock"
	"github.com/swarmctl/swarmctl/api/wire"
)

// DefaultPort is the port of managers, where an address names none.
const DefaultPort = "2377"

// patience is how long one step of a join may take: dialling, or a call that
// is one commit in Raft. An election may pass meanwhile.
const patience = 15 * time.Second

// Request is what a node joins with.
type Request struct {
	Dir          string // the node's state directory
	Addr         string // host or host:port of a manager
	Token        string
	Availability string // active, pause or drain; empty is active
	// Routes are the prefixes that the host routes itself. The cluster refuses
	// one that has a way of its own to a network of the cluster's.
	Routes []netip.Prefix
}

// Joined is what a node is after it has joined.
type Joined struct {
	Identity  *identity.Identity // saved in Request.Dir already
	UnlockKey unlock.Key         // it is sealed with; nil where it is not
	Managers  []*wire.Peer
}

// Join makes the machine a node of the cluster that the token belongs to. The
// manager must show a root certificate whose digest is the token's before it
// is told anything. A join that is cut off may be tried again: it is the same
// node then. Errors have codes: invalid (the token's form, or the token
// belongs to another cluster), forbidden (the cluster does not accept the
// token), conflict (the machine is a node already), unavailable.
func Join(ctx context.Context, r Request) (*Joined, error) {
	if err := identity.CheckToken(r.Token); err != nil {
		return nil, err
	}
	if err := mustBeStranger(r.Dir); err != nil {
		return nil, err
	}
	addr := withPort(r.Addr)
	if err := reach(ctx, addr); err != nil {
		return nil, err
	}
	root, err := fetchRoot(ctx, addr, r.Token)
	if err != nil {
		return nil, err
	}
	key, err := identity.JoinKey(r.Dir)
	if err != nil {
		return nil, err
	}
	csr, err := identity.NewCSR(key)
	if err != nil {
		return nil, err
	}
	reply, err := issue(ctx, addr, pinned(root), &wire.IssueRequest{Token: r.Token, CsrPem: csr, Availability: r.Availability, Routes: wire.Texts(r.Routes)})
	if err != nil {
		return nil, err
	}
	id, err := identity.New(key, reply.CertificatePem, reply.RootsPem)
	if err != nil {
		return nil, fmt.Errorf("answer of manager %s: %w", addr, err)
	}
	src := identity.NewSource(id, r.Dir, reply.UnlockKey)
	return &Joined{Identity: id, UnlockKey: src.Key(), Managers: reply.Managers}, src.Save()
}

// mustBeStranger refuses a node that has an identity, readable or not.
func mustBeStranger(dir string) error {
	id, err := identity.PeerOn(dir)
	switch {
	case err == nil:
		return api.Errorf(api.CodeConflict, "this node is already part of cluster %s, as node %s: leave it first with `swarmctl leave`", id.ClusterID, id.NodeID)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(addr, DefaultPort)
}

// reach says in plain words why an address cannot be reached; gRPC would say
// it in its own after many tries.
func reach(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, patience/3)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		return conn.Close()
	}
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return api.Errorf(api.CodeUnavailable, "nobody listens on %s (connection refused): give the address of a manager, and see there with `swarmctl info` that it runs", addr)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return api.Errorf(api.CodeUnavailable, "%s does not answer: is it a manager's address, and do the firewalls on the way let 2377/tcp through?", addr)
	case errors.As(err, &dns):
		return api.Errorf(api.CodeInvalid, "manager address %q: no such host: give an address or a name that this machine can resolve", dns.Name)
	}
	return api.Errorf(api.CodeUnavailable, "cannot reach the manager at %s: %v", addr, err)
}

// fetchRoot asks a manager whose certificate cannot be verified yet for the
// root, and believes the answer only if the token pins it.
func fetchRoot(ctx context.Context, addr, token string) ([]byte, error) {
	// Not verified, and nothing is told over it: see the digest below.
	tc := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, InsecureSkipVerify: true}
	var root []byte
	err := call(ctx, addr, credentials.NewTLS(tc), func(ctx context.Context, ca wire.CAClient) error {
		reply, err := ca.GetRoot(ctx, &wire.GetRootRequest{})
		root = reply.GetRootPem()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s for its cluster's root certificate: %w", addr, err)
	}
	if !identity.TokenPins(token, root) {
		return nil, api.Errorf(api.CodeInvalid, "the CA of %s does not match the token's digest: the token belongs to another cluster, or somebody stands in between: get the token with `swarmctl join-token worker` on %s itself", addr, addr)
	}
	return root, nil
}

// pinned is for calls by a node that has no certificate and knows the root.
func pinned(root []byte) credentials.TransportCredentials {
	return credentials.NewTLS(identity.StrangerConfig(root, "h2"))
}

func issue(ctx context.Context, addr string, creds credentials.TransportCredentials, req *wire.IssueRequest) (reply *wire.IssueReply, err error) {
	err = call(ctx, addr, creds, func(ctx context.Context, ca wire.CAClient) error {
		reply, err = ca.Issue(ctx, req)
		return err
	})
	return reply, err
}

// call makes one call on one connection.
func call(ctx context.Context, addr string, creds credentials.TransportCredentials, do func(context.Context, wire.CAClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// No proxy: managers are inside. passthrough: the dialler resolves names.
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	err = wire.FromStatus(do(ctx, wire.NewCAClient(conn)))
	return errors.Join(err, conn.Close())
}
