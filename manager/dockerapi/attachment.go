package dockerapi

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// The leader's half of single containers in the cluster's networks: which
// containers a node has there, and their addresses. A node speaks for itself
// alone. The other half is in attach.go.

// attachmentRequest is where a container of a user's is to be from now on.
type attachmentRequest struct {
	Name     string
	Networks []attachmentNetwork
}

type attachmentNetwork struct {
	Network string // its name or ID
	Aliases []string
	Addrs   []netip.Addr // those asked for; none leaves it to the cluster, or as it is
}

func (a *API) attachmentList(w http.ResponseWriter, r *http.Request) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	list := []*api.AttachedContainer{}
	for c := range view.NodeAttached(api.NodeID(r.PathValue("node"))) {
		list = append(list, c)
	}
	return writeJSON(w, http.StatusOK, list)
}

// attachmentPut gives a container addresses in the networks that it names, and
// takes back those in the networks that it does not.
func (a *API) attachmentPut(w http.ResponseWriter, r *http.Request) error {
	var req attachmentRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	id, node := r.PathValue("id"), api.NodeID(r.PathValue("node"))
	for {
		err := a.putAttachment(r, id, node, &req)
		if errors.Is(err, api.ErrOutdated) {
			continue // its node has said something else meanwhile: the last word counts
		}
		if err != nil {
			return err
		}
		view, err := a.read(r)
		if err != nil {
			return err
		}
		c := view.Attached(id)
		if c == nil {
			return api.Errorf(api.CodeConflict, "container %s has been taken out of all networks meanwhile", req.Name)
		}
		return writeJSON(w, http.StatusOK, c)
	}
}

func (a *API) putAttachment(r *http.Request, id string, node api.NodeID, req *attachmentRequest) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	old := view.Attached(id)
	if old != nil && old.NodeID != node {
		return api.Errorf(api.CodeForbidden, "container %s is on another node", id)
	}
	next, err := attachedTo(view, old, req)
	if err != nil {
		return err
	}
	next.ID, next.NodeID = id, node
	return a.propose(r, state.Op{PutAttached: next})
}

// attachedTo is the container as it is asked for: on networks that let single
// containers in, or that it is on already.
func attachedTo(view *state.View, old *api.AttachedContainer, req *attachmentRequest) (*api.AttachedContainer, error) {
	next := &api.AttachedContainer{Name: req.Name, Aliases: map[api.NetworkID][]string{}}
	if old != nil {
		next.Meta = old.Meta
	}
	for _, asked := range req.Networks {
		n, err := view.FindNetwork(asked.Network)
		if err != nil {
			return nil, err
		}
		if on := old != nil && fabric.In(old.Networks, n.ID) != nil; !on && !n.Spec.Attachable {
			return nil, errNotAttachable(n)
		}
		if fabric.In(next.Networks, n.ID) != nil {
			return nil, api.Errorf(api.CodeInvalid, "network %s is given twice", n.Spec.Name)
		}
		aliases, err := checkAliases(n.Spec.Name, asked.Aliases)
		if err != nil {
			return nil, err
		}
		if len(aliases) > 0 {
			next.Aliases[n.ID] = aliases
		}
		next.Networks = append(next.Networks, api.Attachment{Network: n.ID, Addrs: asked.Addrs})
	}
	return next, nil
}

func errNotAttachable(n *api.Network) error {
	if n.Spec.Ingress {
		return api.Errorf(api.CodeForbidden, "Could not attach to network %s: it is for the ports that services publish", n.Spec.Name)
	}
	return api.Errorf(api.CodeForbidden, "Could not attach to network %s: network %[1]s not manually attachable: it takes services alone; one that takes containers too is made with --attachable", n.Spec.Name)
}

func checkAliases(network string, list []string) ([]string, error) {
	for _, alias := range list {
		if err := servicespec.CheckAlias(alias); err != nil {
			return nil, api.Errorf(api.CodeInvalid, "network %s: %v", network, err)
		}
	}
	list = slices.Sorted(slices.Values(list))
	return slices.Compact(list), nil
}

func (a *API) attachmentDelete(w http.ResponseWriter, r *http.Request) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	c := view.Attached(r.PathValue("id"))
	if c == nil || c.NodeID != api.NodeID(r.PathValue("node")) {
		return api.Errorf(api.CodeNotFound, "container %s is in no network of the cluster", r.PathValue("id"))
	}
	return a.deleted(w, r, state.Op{DeleteAttached: &state.DeleteAttached{ID: c.ID}})
}
