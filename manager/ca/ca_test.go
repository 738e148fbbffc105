package ca_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/identity/join"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/manager/ca"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// cluster is one manager without Raft: commands are applied as they come.
type cluster struct {
	t       *testing.T
	mu      sync.Mutex
	index   uint64
	state   *state.State
	source  *identity.Source
	addr    string
	failing error // what CreateNode answers after it has created the node
}

func newCluster(t *testing.T) *cluster {
	root, cert, key, err := ca.NewRoot()
	must(t, err)
	id, err := root.SignSelf(identity.NewKey(), api.NewID(), ca.DefaultValidity)
	must(t, err)
	c := &cluster{t: t, state: state.New(), source: identity.NewSource(id, t.TempDir(), nil)}
	must(t, c.apply(state.Op{PutCluster: &api.Cluster{
		ID: id.ClusterID, RootCert: cert, RootKey: key, WorkerToken: identity.NewToken(cert), ManagerToken: identity.NewToken(cert),
	}}))
	must(t, c.apply(state.Op{PutNode: &api.Node{ID: id.NodeID, Spec: api.NodeSpec{Role: identity.Manager}, ManagerAddr: "m1:2377"}}))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(c.source.ServerConfig("h2"))))
	wire.RegisterCAServer(s, ca.NewServer(c, slog.New(slog.DiscardHandler)))
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	c.addr = l.Addr().String()
	return c
}

func (c *cluster) apply(op state.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	return c.state.Apply(c.index, []state.Command{{Ops: []state.Op{op}}})[0].Err()
}

func (c *cluster) View() *state.View { return c.state.View() }

func (c *cluster) CreateNode(_ context.Context, n *api.Node) error {
	return errors.Join(c.apply(state.Op{PutNode: n}), c.failing)
}

func (c *cluster) joinAs(dir, token string) (*join.Joined, error) {
	return join.Join(context.Background(), join.Request{Dir: dir, Addr: c.addr, Token: token})
}

func (c *cluster) nodes() (n int) {
	for range c.View().Nodes() {
		n++
	}
	return n
}

func TestJoinPromoteRenew(t *testing.T) {
	c, dir := newCluster(t), t.TempDir()
	j, err := c.joinAs(dir, c.View().Cluster().WorkerToken)
	must(t, err)
	if j.Identity.Role != identity.Worker || len(j.Managers) != 1 || j.Managers[0].Addr != "m1:2377" {
		t.Fatalf("joined as %+v, managers %v", j.Identity.Peer, j.Managers)
	}
	node := *c.View().Node(j.Identity.NodeID)
	node.Spec.Role = identity.Manager
	must(t, c.apply(state.Op{PutNode: &node}))

	src := identity.NewSource(j.Identity, dir, j.UnlockKey)
	must(t, join.Renew(context.Background(), src, c.addr))
	saved, err := identity.Load(dir, nil)
	must(t, err)
	for _, id := range []*identity.Identity{src.Current(), saved} {
		if id.Role != identity.Manager || id.NodeID != j.Identity.NodeID {
			t.Errorf("renewed to %+v", id.Peer)
		}
	}
	if life := saved.Life(); (life - ca.DefaultValidity).Abs() > time.Minute {
		t.Errorf("life %v", life)
	}

	must(t, c.apply(state.Op{DeleteNode: &state.DeleteNode{ID: node.ID}}))
	err = join.Renew(context.Background(), src, c.addr)
	wantError(t, err, api.ErrForbidden, "no longer part of cluster")
}

func TestAJoinWhoseAnswerWasLostIsTheSameNode(t *testing.T) {
	c, dir := newCluster(t), t.TempDir()
	c.failing = api.Errorf(api.CodeUnavailable, "the leader has lost its term")
	_, err := c.joinAs(dir, c.View().Cluster().WorkerToken)
	wantError(t, err, api.ErrUnavailable, "lost its term")
	c.failing = nil

	_, err = c.joinAs(dir, c.View().Cluster().ManagerToken)
	wantError(t, err, api.ErrConflict, "begun to join as a worker")
	_, err = c.joinAs(dir, c.View().Cluster().WorkerToken)
	must(t, err)
	if n := c.nodes(); n != 2 {
		t.Errorf("%d nodes after one node joined in two tries", n)
	}
}

func TestBadJoins(t *testing.T) {
	c, other := newCluster(t), newCluster(t)
	good := c.View().Cluster().WorkerToken
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	member := t.TempDir()
	_, err = c.joinAs(member, good)
	must(t, err)
	before := c.nodes()

	for _, b := range []struct {
		name, dir, addr, token, text string
		code                         error
	}{
		{"rotated token", "", c.addr, identity.NewToken(c.View().Cluster().RootCert), "A valid join token is necessary to join this cluster: get a current one with `swarmctl join-token worker`", api.ErrForbidden},
		{"truncated token", "", c.addr, good[:70], "cut short: 70 characters instead of 85", api.ErrInvalid},
		{"token of another cluster", "", other.addr, good, "the CA of " + other.addr + " does not match the token's digest", api.ErrInvalid},
		{"nobody listens", "", closed.Addr().String(), good, "nobody listens on " + closed.Addr().String(), api.ErrUnavailable},
		{"no such host", "", "no-such-host.invalid", good, `"no-such-host.invalid": no such host`, api.ErrInvalid},
		{"joining twice", member, c.addr, good, "already part of cluster " + c.View().Cluster().ID, api.ErrConflict},
	} {
		t.Run(b.name, func(t *testing.T) {
			if b.dir == "" {
				b.dir = t.TempDir()
			}
			_, err := join.Join(context.Background(), join.Request{Dir: b.dir, Addr: b.addr, Token: b.token})
			wantError(t, err, b.code, b.text)
		})
	}
	_, err = join.Join(context.Background(), join.Request{Dir: t.TempDir(), Addr: c.addr, Token: good, Availability: "maybe"})
	wantError(t, err, api.ErrInvalid, `availability "maybe"`)
	if n := c.nodes(); n != before {
		t.Errorf("%d nodes, %d before the bad joins", n, before)
	}
}

func TestARenewalNeedsACertificateOfThisCluster(t *testing.T) {
	c := newCluster(t)
	key := identity.NewKey()
	csr, err := identity.NewCSR(key)
	must(t, err)
	creds := credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	conn, err := grpc.NewClient(c.addr, grpc.WithTransportCredentials(creds))
	must(t, err)
	defer conn.Close()
	_, err = wire.NewCAClient(conn).Issue(context.Background(), &wire.IssueRequest{CsrPem: csr})
	wantError(t, wire.FromStatus(err), api.ErrForbidden, "no certificate of this cluster")
}

func wantError(t *testing.T, err, code error, text string) {
	t.Helper()
	if !errors.Is(err, code) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v (code %s), want code %v and %q", err, api.CodeOf(err), code.(*api.Error).Code, text)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
