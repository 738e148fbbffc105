package dockerapi

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// clusterNetworkInspect answers what the cluster knows of one of its networks: which
// nodes have it and, where that is asked for, who is on it.
func (a *API) clusterNetworkInspect(w http.ResponseWriter, r *http.Request) error {
	view, n, err := found(a, r, (*state.View).FindNetwork)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, inspectNetwork(view, n, r))
}

func inspectNetwork(view *state.View, n *api.Network, r *http.Request) networkAnswer {
	out := projectNetwork(n, apiVersion(r))
	out.Peers = networkPeers(view, n.ID)
	if verbose, _ := strconv.ParseBool(r.URL.Query().Get("verbose")); verbose {
		out.Services = networkServices(view, n)
	}
	return out
}

// networkPeers are the nodes that have the network.
func networkPeers(view *state.View, id api.NetworkID) (out []network.PeerInfo) {
	for n := range view.Nodes() {
		if fabric.In(n.Gateways, id) != nil {
			out = append(out, network.PeerInfo{Name: n.Hostname(), IP: n.Status.Addr})
		}
	}
	return out
}

// noVIP is what Docker shows of a service without a virtual address.
const noVIP = "<nil>"

// networkServices are the services on a network, with the addresses of their
// tasks; the containers of users are under the name "".
func networkServices(view *state.View, n *api.Network) map[string]network.ServiceInfo {
	out := map[string]network.ServiceInfo{}
	for s := range view.Services() {
		info := serviceInfo(s, n.ID)
		for t := range view.ServiceTasks(s.ID) {
			if at := fabric.In(t.Networks, n.ID); at != nil {
				info.Tasks = append(info.Tasks, networkTask(view, view.TaskName(t), string(t.ID), t.NodeID, at))
			}
		}
		if info.VIP != noVIP || len(info.Tasks) > 0 {
			out[s.Name()] = info
		}
	}
	info := network.ServiceInfo{VIP: noVIP, Ports: []string{}}
	for c := range view.NetworkAttached(n.ID) {
		info.Tasks = append(info.Tasks, networkTask(view, c.Name, c.ID, c.NodeID, fabric.In(c.Networks, n.ID)))
	}
	if len(info.Tasks) > 0 {
		out[""] = info
	}
	return out
}

func serviceInfo(s *api.Service, id api.NetworkID) network.ServiceInfo {
	info := network.ServiceInfo{VIP: noVIP, Ports: []string{}, Tasks: []network.Task{}}
	vip := fabric.In(s.Endpoint.VIPs, id)
	if vip == nil || len(vip.Addrs) == 0 {
		return info
	}
	info.VIP = vip.Addrs[0].String()
	for _, p := range s.Endpoint.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeIngress {
			info.Ports = append(info.Ports, fmt.Sprintf("Target: %d, Publish: %d", p.TargetPort, p.PublishedPort))
		}
	}
	return info
}

func networkTask(view *state.View, name, id string, node api.NodeID, at *api.Attachment) network.Task {
	out := network.Task{Name: name, EndpointID: id, Info: map[string]string{}}
	if len(at.Addrs) > 0 {
		out.EndpointIP = at.Addrs[0].String()
	}
	if n := view.Node(node); n != nil {
		out.Info["Host IP"] = n.Status.Addr
	}
	return out
}
