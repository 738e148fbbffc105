package dockerapi

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// networkCheck has every node of a network send packets of the full size to
// every other one.
func (a *API) networkCheck(w http.ResponseWriter, r *http.Request) error {
	view, n, err := found(a, r, (*state.View).FindNetwork)
	if err != nil {
		return err
	}
	nodes := nodesOn(view, n.ID)
	if len(nodes) == 0 {
		return api.Errorf(api.CodeConflict, "network %s is on no node yet: a node has it while it runs a task or a container of it", n.Spec.Name)
	}
	return writeJSON(w, http.StatusOK, a.checkPairs(r.Context(), n, nodes))
}

// nodesOn are the nodes that have an address in the network, by hostname.
func nodesOn(view *state.View, id api.NetworkID) (list []*api.Node) {
	for n := range view.Nodes() {
		if at := fabric.In(n.Gateways, id); at != nil && len(at.Addrs) > 0 {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b *api.Node) int {
		return cmp.Or(cmp.Compare(a.Hostname(), b.Hostname()), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// checkPairs asks all nodes at once.
func (a *API) checkPairs(ctx context.Context, n *api.Network, nodes []*api.Node) []api.Probe {
	rows := make([][]api.Probe, len(nodes))
	var all sync.WaitGroup
	for i, from := range nodes {
		all.Go(func() { rows[i] = a.checkFrom(ctx, n, from, nodes) })
	}
	all.Wait()
	return append([]api.Probe{}, slices.Concat(rows...)...)
}

func (a *API) checkFrom(ctx context.Context, n *api.Network, from *api.Node, nodes []*api.Node) []api.Probe {
	req := api.ProbeRequest{Network: n.ID}
	for _, to := range nodes {
		if to.ID != from.ID {
			req.To = append(req.To, targetOf(n.ID, to))
		}
	}
	if len(req.To) == 0 {
		return nil
	}
	var out []api.Probe
	if err := a.askNode(ctx, from.ID, "/probe", &req, &out); err != nil || len(out) != len(req.To) {
		return unasked(from, req.To, err)
	}
	for i := range out {
		out[i].From, out[i].To = from.Hostname(), req.To[i].Node
	}
	return out
}

func targetOf(id api.NetworkID, n *api.Node) api.ProbeTarget {
	return api.ProbeTarget{Node: n.Hostname(), Addr: fabric.In(n.Gateways, id).Addrs[0]}
}

// unasked are the pairs of a node that does not answer.
func unasked(from *api.Node, to []api.ProbeTarget, err error) (out []api.Probe) {
	why := "node " + from.Hostname() + " is " + string(from.Status.State)
	switch {
	case from.Status.State == api.NodeReady && err != nil:
		why = "node " + from.Hostname() + " cannot be asked: " + err.Error()
	case from.Status.State == api.NodeReady:
		why = "node " + from.Hostname() + " answers something else"
	}
	for _, t := range to {
		out = append(out, api.Probe{From: from.Hostname(), To: t.Node, Err: why})
	}
	return out
}
