package daemon

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/manager/ca"
	"github.com/swarmctl/swarmctl/raftstore"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// behind are the nodes that do not say that the cluster's next root has signed
// their certificate. One that is down counts: it could not come back.
func behind(c *api.Cluster, nodes iter.Seq[*api.Node]) (ids []api.NodeID) {
	next, err := identity.ParseCert(c.NextRoot.Cert)
	for n := range nodes {
		if err != nil || !bytes.Equal(n.Description.TLSInfo.CertIssuerPublicKey, next.RawSubjectPublicKeyInfo) {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// rootKeeper is the leader's loop that ends the replacement of the cluster's
// root, once no node is behind.
type rootKeeper struct {
	store *raftstore.Store
	log   *slog.Logger
}

func (k *rootKeeper) Run(ctx context.Context) error {
	view, cursor := k.store.Follow()
	if err := k.pass(ctx, view); err != nil {
		return err
	}
	for {
		e, err := cursor.Next(ctx)
		if err == nil && (e.Reset || e.Cluster || len(e.Nodes) > 0) {
			err = k.pass(ctx, e.View)
		}
		if err != nil {
			return err
		}
	}
}

func (k *rootKeeper) pass(ctx context.Context, view *state.View) error {
	c := view.Cluster()
	if c == nil || c.NextRoot == nil || len(behind(c, view.Nodes())) > 0 {
		return nil
	}
	_, err := k.store.Propose(ctx, state.Command{At: time.Now(), Ops: []state.Op{{PutCluster: ca.Rotated(c)}}})
	if errors.Is(err, api.ErrOutdated) {
		return nil // somebody changed the cluster meanwhile: that comes as an event
	}
	if err == nil {
		k.log.Info("the cluster has another root: new join tokens pin it")
	}
	return err
}
