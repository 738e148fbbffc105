package ca

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Store is what the server needs of the replicated state. CreateNode commits a
// new node, through the leader if need be, and returns once View shows it;
// a node that exists has code conflict.
type Store interface {
	View() *state.View
	CreateNode(ctx context.Context, n *api.Node) error
}

// Server is the gRPC service through which nodes get their certificates.
// Every manager serves it.
type Server struct {
	wire.UnimplementedCAServer
	store Store
	log   *slog.Logger
}

// NewServer returns the service; register it with wire.RegisterCAServer.
func NewServer(store Store, log *slog.Logger) *Server { return &Server{store: store, log: log} }

// GetRoot returns the certificate of the root that join tokens pin, to
// anybody: it is no secret.
func (s *Server) GetRoot(context.Context, *wire.GetRootRequest) (*wire.GetRootReply, error) {
	c, err := s.cluster()
	if err != nil {
		return nil, wire.ToStatus(err)
	}
	return &wire.GetRootReply{RootPem: c.RootCert}, nil
}

// Issue signs a certificate for a node that joins with a token, or for a node
// that renews and is known by its certificate. A known node gets the role that
// its spec has now: that is how a promotion reaches it.
func (s *Server) Issue(ctx context.Context, req *wire.IssueRequest) (*wire.IssueReply, error) {
	reply, err := s.issue(ctx, req)
	if err != nil {
		s.log.Info("certificate refused", "err", err)
		return nil, wire.ToStatus(err)
	}
	s.log.Info("certificate issued", "node", reply.NodeId, "role", reply.Role, "joins", req.Token != "")
	return reply, nil
}

func (s *Server) issue(ctx context.Context, req *wire.IssueRequest) (*wire.IssueReply, error) {
	c, err := s.cluster()
	if err != nil {
		return nil, err
	}
	root, err := Signer(c)
	if err != nil {
		return nil, err
	}
	var node *api.Node
	if req.Token != "" {
		node, err = s.admit(ctx, c, req)
	} else {
		node, err = s.known(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	peer := identity.Peer{NodeID: node.ID, ClusterID: c.ID, Role: node.Spec.Role}
	cert, err := root.Sign(req.CsrPem, peer, validity(c))
	if err != nil {
		return nil, err
	}
	reply := &wire.IssueReply{
		NodeId: string(node.ID), ClusterId: c.ID, Role: string(node.Spec.Role),
		CertificatePem: cert, RootsPem: c.RootsPEM(), Managers: managers(s.store.View()),
	}
	if node.Spec.Role == identity.Manager {
		reply.UnlockKey = c.UnlockKey
	}
	return reply, nil
}

// admit finds or creates the node of a joiner. Its ID comes from its key, so a
// joiner that asks again after a lost answer is the node that it was.
func (s *Server) admit(ctx context.Context, c *api.Cluster, req *wire.IssueRequest) (*api.Node, error) {
	role, err := roleOf(c, req.Token)
	if err != nil {
		return nil, err
	}
	pub, err := identity.ParseCSR(req.CsrPem)
	if err != nil {
		return nil, err
	}
	id := identity.NodeIDOf(pub)
	if s.store.View().Node(id) == nil {
		node, err := newNode(id, role, req.Availability)
		if err != nil {
			return nil, err
		}
		node.Routes = wire.Prefixes(req.Routes)
		if err := checkRoutes(node.Routes, s.store.View()); err != nil {
			return nil, err
		}
		if err := s.store.CreateNode(ctx, node); err == nil {
			return node, nil
		} else if !errors.Is(err, api.ErrConflict) {
			return nil, err
		}
	}
	node := s.store.View().Node(id)
	switch {
	case node == nil:
		return nil, api.Errorf(api.CodeUnavailable, "node %s was removed while it joined: join again", id)
	case node.Spec.Role != role:
		return nil, api.Errorf(api.CodeConflict, "node %s has begun to join as a %s: finish with the token for a %s, and promote or demote it then", id, node.Spec.Role, node.Spec.Role)
	}
	return node, nil
}

// known finds the node of a caller that shows a certificate.
func (s *Server) known(ctx context.Context, c *api.Cluster) (*api.Node, error) {
	peer, err := identity.PeerFromContext(ctx)
	if err != nil {
		return nil, err
	}
	node := s.store.View().Node(peer.NodeID)
	if node == nil || peer.ClusterID != c.ID {
		return nil, api.Errorf(api.CodeForbidden, "node %s is no longer part of cluster %s: `swarmctl leave --force` there, then join again", peer.NodeID, c.ID)
	}
	return node, nil
}

func (s *Server) cluster() (*api.Cluster, error) {
	c := s.store.View().Cluster()
	if c == nil || c.RootCert == nil {
		return nil, api.Errorf(api.CodeUnavailable, "this manager has not caught up with its cluster yet: try again in a moment")
	}
	return c, nil
}

// roleOf finds the role that a token stands for. Both tokens are compared
// whatever the first says, so that the time taken tells nothing.
func roleOf(c *api.Cluster, token string) (identity.Role, error) {
	worker, manager := identity.SameToken(token, c.WorkerToken), identity.SameToken(token, c.ManagerToken)
	switch {
	case worker:
		return identity.Worker, nil
	case manager:
		return identity.Manager, nil
	}
	return "", api.Errorf(api.CodeForbidden, "A valid join token is necessary to join this cluster: get a current one with `swarmctl join-token worker` on a manager")
}

func newNode(id api.NodeID, role identity.Role, availability string) (*api.Node, error) {
	a := swarm.NodeAvailability(availability)
	switch a {
	case "":
		a = swarm.NodeAvailabilityActive
	case swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain:
	default:
		return nil, api.Errorf(api.CodeInvalid, "availability %q: use active, pause or drain", availability)
	}
	return &api.Node{
		ID:     id,
		Spec:   api.NodeSpec{Role: role, Availability: a},
		Status: api.NodeStatus{State: api.NodeUnknown, Message: "joined, not heard of yet"},
	}, nil
}

// validity is how long certificates live in this cluster.
func validity(c *api.Cluster) time.Duration {
	if v := c.Spec.CAConfig.NodeCertExpiry; v > 0 {
		return max(v, MinValidity)
	}
	return DefaultValidity
}

func managers(v *state.View) (list []*wire.Peer) {
	for n := range v.Nodes() {
		if n.IsManager() {
			list = append(list, &wire.Peer{NodeId: string(n.ID), Addr: n.ManagerAddr})
		}
	}
	return list
}
