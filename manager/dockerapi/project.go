package dockerapi

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// clusterName is the only name a cluster has in Docker's API.
const clusterName = "default"

// clusterInfo is the cluster as everybody may see it.
func clusterInfo(c *api.Cluster) swarm.ClusterInfo {
	spec := c.Spec
	spec.Name = clusterName
	spec.Labels = notNil(spec.Labels)
	pool, size := c.Pool()
	return swarm.ClusterInfo{
		ID: c.ID, Meta: c.Meta, Spec: spec, TLSInfo: tlsInfo(c), RootRotationInProgress: c.NextRoot != nil,
		DefaultAddrPool: pool, SubnetSize: size, DataPathPort: dataPathPort,
	}
}

// tlsInfo says which root the nodes trust, and which one signs.
func tlsInfo(c *api.Cluster) swarm.TLSInfo {
	info := swarm.TLSInfo{TrustRoot: string(c.RootCert)}
	block, _ := pem.Decode(c.Signer())
	if block == nil {
		return info
	}
	if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
		info.CertIssuerSubject, info.CertIssuerPublicKey = cert.RawSubject, cert.RawSubjectPublicKeyInfo
	}
	return info
}

// roleOf is the role a node has, which is not yet the one its spec asks for
// while it is being promoted or demoted.
func roleOf(n *api.Node) swarm.NodeRole {
	if n.IsManager() {
		return swarm.NodeRoleManager
	}
	return swarm.NodeRoleWorker
}

func projectNode(n *api.Node, leader bool) swarm.Node {
	out := swarm.Node{
		ID: string(n.ID), Meta: n.Meta, Spec: n.Spec, Description: n.Description,
		Status: swarm.NodeStatus{State: swarm.NodeState(n.Status.State), Message: n.Status.Message, Addr: n.Status.Addr},
	}
	out.Spec.Labels = notNil(out.Spec.Labels)
	if out.Status.State == "" {
		out.Status.State = swarm.NodeStateUnknown
	}
	if n.IsManager() {
		out.ManagerStatus = &swarm.ManagerStatus{Leader: leader, Reachability: reachability(n, leader), Addr: n.ManagerAddr}
	}
	return out
}

// nodeJSON is a node with what Docker's has no field for, which its clients pass
// over and `docker node inspect` shows.
type nodeJSON struct {
	swarm.Node
	// Load is how busy the node is; none where it has not said, or is not heard of.
	Load *api.NodeLoad `json:",omitempty"`
}

func nodeJSONOf(n *api.Node, leader bool) nodeJSON {
	out := nodeJSON{Node: projectNode(n, leader)}
	if n.Status.State == api.NodeReady {
		out.Load = n.Load
	}
	return out
}

func reachability(n *api.Node, leader bool) swarm.Reachability {
	switch {
	case leader || n.Status.State == api.NodeReady:
		return swarm.ReachabilityReachable
	case n.Status.State == api.NodeDown || n.Status.State == api.NodeDisconnected:
		return swarm.ReachabilityUnreachable
	}
	return swarm.ReachabilityUnknown
}

func projectService(view *state.View, s *api.Service) swarm.Service {
	out := swarm.Service{
		ID: string(s.ID), Meta: s.Meta, Spec: projectSpec(s.Spec), Endpoint: projectEndpoint(view, s),
		UpdateStatus: s.UpdateStatus, JobStatus: s.JobStatus,
	}
	out.Spec.Mode = shownMode(view, &s.Spec)
	if s.PreviousSpec != nil {
		prev := projectSpec(*s.PreviousSpec)
		prev.Mode = shownMode(view, &prev)
		out.PreviousSpec = &prev
	}
	return out
}

// projectEndpoint is how a service is reached: nothing where there is nothing
// to reach it by, as in Docker Swarm.
func projectEndpoint(view *state.View, s *api.Service) (out swarm.Endpoint) {
	if len(s.Endpoint.Ports)+len(s.Endpoint.VIPs) == 0 {
		return out
	}
	if s.Spec.EndpointSpec != nil {
		out.Spec = *s.Spec.EndpointSpec
	}
	out.Ports = s.Endpoint.Ports
	for _, vip := range ingressFirst(view, s.Endpoint.VIPs) {
		for _, a := range addresses(view.Network(vip.Network), vip.Addrs) {
			out.VirtualIPs = append(out.VirtualIPs, swarm.EndpointVirtualIP{NetworkID: string(vip.Network), Addr: a})
		}
	}
	return out
}

// ingressFirst has the ingress network where Docker shows it.
func ingressFirst(view *state.View, list []api.Attachment) []api.Attachment {
	last := len(list) - 1
	if last < 1 {
		return list
	}
	if n := view.Network(list[last].Network); n == nil || !n.Spec.Ingress {
		return list
	}
	return append([]api.Attachment{list[last]}, list[:last]...)
}

// addresses are those of somebody in a network, each with the length of the
// prefix of the subnet that it is in.
func addresses(n *api.Network, list []netip.Addr) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		bits := a.BitLen()
		if n != nil {
			for _, c := range n.IPAM.Configs {
				if p, err := netip.ParsePrefix(c.Subnet); err == nil && p.Contains(a) {
					bits = p.Bits()
				}
			}
		}
		out = append(out, netip.PrefixFrom(a, bits).String())
	}
	return out
}

// projectAttachments are the networks of a task, with its addresses in them.
func projectAttachments(view *state.View, list []api.Attachment) (out []swarm.NetworkAttachment) {
	for _, at := range ingressFirst(view, list) {
		n := view.Network(at.Network)
		if n == nil {
			n = &api.Network{ID: at.Network} // it has been removed with its service
		}
		out = append(out, swarm.NetworkAttachment{Network: projectSwarmNetwork(n), Addresses: addresses(n, at.Addrs)})
	}
	return out
}

// projectSwarmNetwork is a network as tasks show it.
func projectSwarmNetwork(n *api.Network) swarm.Network {
	out := swarm.Network{
		ID: string(n.ID), Meta: n.Meta, Spec: n.Spec,
		DriverState: swarm.Driver{Name: api.DriverOverlay, Options: networkOptions(n)}, IPAMOptions: &n.IPAM,
	}
	out.Spec.Labels = notNil(out.Spec.Labels)
	out.Spec.Scope = scopeSwarm
	return out
}

func projectSpec(s api.ServiceSpec) api.ServiceSpec {
	s.Labels = notNil(s.Labels)
	return s
}

// serviceStatus counts a service's tasks as "service ls" shows them.
func serviceStatus(view *state.View, s *api.Service) *swarm.ServiceStatus {
	if s.IsJob() {
		return jobStatus(view, s)
	}
	out := &swarm.ServiceStatus{}
	for t := range view.ServiceTasks(s.ID) {
		switch {
		case t.Status.State == api.TaskRunning && t.Desired <= api.TaskRunning:
			if n := view.Node(t.NodeID); n != nil && n.Status.State != api.NodeDown {
				out.RunningTasks++
			}
		case t.Status.State == api.TaskComplete:
			out.CompletedTasks++
		}
		if s.Spec.Mode.Global != nil && t.Live() {
			out.DesiredTasks++
		}
	}
	if setting.PodOf(s.Spec.Labels) != "" {
		out.DesiredTasks = 0
		if of, _ := view.PodService(&s.Spec); of != nil {
			out.DesiredTasks = serviceStatus(view, of).DesiredTasks
		}
	} else if n, ok := s.Replicas(); ok {
		out.DesiredTasks = n
	}
	return out
}

// jobStatus counts what there is of a job's current iteration, slot by slot: a
// node that was taken for dead may have done its work too. Of a replicated job
// as many tasks are desired as may run at once, to its end and after it; of a
// global one those that are not complete, also where no further attempt follows.
func jobStatus(view *state.View, s *api.Service) *swarm.ServiceStatus {
	out, complete := &swarm.ServiceStatus{}, map[string]bool{}
	for t := range view.ServiceTasks(s.ID) {
		if t.JobIteration != s.JobIteration() || t.Desired == api.TaskRemove || t.Status.State == api.TaskShutdown {
			continue
		}
		if t.Live() && t.Status.State == api.TaskRunning {
			out.RunningTasks++
		}
		place := api.Place(&s.Spec, t)
		complete[place] = complete[place] || t.Status.State == api.TaskComplete
	}
	for _, done := range complete {
		if done {
			out.CompletedTasks++
		} else {
			out.DesiredTasks++
		}
	}
	if s.Spec.Mode.ReplicatedJob != nil {
		out.DesiredTasks, _ = s.Completions()
	}
	return out
}

// projectTask gives a task the spec that it runs, which it does not carry.
func projectTask(view *state.View, t *api.Task, now time.Time) swarm.Task {
	out := projectTaskOf(view.SpecOf(t), t)
	out.NetworksAttachments = projectAttachments(view, t.Networks)
	out.Status.Err = cmp.Or(out.Status.Err, downNote(view, t, now), newPortTroubles(view).of(t), noteOf(t, canaryNote(view, t)))
	return out
}

// canaryNote is what a canary makes of the tasks of t's version.
func canaryNote(view *state.View, t *api.Task) string {
	if s := view.Service(t.ServiceID); s != nil {
		return s.CanaryNote(t.SpecVersion)
	}
	return ""
}

// noteOf is what a task says that runs as it should.
func noteOf(t *api.Task, note string) string {
	if t.Wanted() && t.Status.State == api.TaskRunning {
		return note
	}
	return ""
}

// projectTaskOf is projectTask where the task's spec is known, without the
// task's networks.
func projectTaskOf(spec *api.SpecVersion, t *api.Task) swarm.Task {
	out := swarm.Task{
		ID: string(t.ID), Meta: t.Meta, ServiceID: string(t.ServiceID), NodeID: string(t.NodeID),
		Annotations:  swarm.Annotations{Labels: map[string]string{}},
		DesiredState: swarm.TaskState(t.Desired.String()), GenericResources: t.GenericResources,
		Status: projectTaskStatus(&t.Status),
	}
	if note := t.RestartNote(); note != "" && out.Status.Err == "" {
		out.Status.Err = note // the one column of "service ps" that says why
	}
	if spec != nil {
		out.Spec = spec.Spec.TaskTemplate
		out.Spec.Runtime = "" // Docker tells it of the service only
		out.Slot = api.SlotNumber(&spec.Spec, t)
		if m := spec.Spec.Mode; m.ReplicatedJob != nil || m.GlobalJob != nil {
			out.JobIteration = &swarm.Version{Index: t.JobIteration}
		}
	}
	return out
}

func projectTaskStatus(s *api.TaskStatus) swarm.TaskStatus {
	out := swarm.TaskStatus{Timestamp: s.At, State: swarm.TaskState(s.State.String()), Message: s.Message, Err: s.Err}
	if c := s.Container; c != nil {
		out.ContainerStatus = &swarm.ContainerStatus{ContainerID: c.ID, PID: c.PID, ExitCode: c.ExitCode}
		for _, p := range c.Ports {
			out.PortStatus.Ports = append(out.PortStatus.Ports, swarm.PortConfig{
				Protocol: swarm.PortConfigProtocol(p.Protocol), TargetPort: p.Target, PublishedPort: p.Published,
				PublishMode: swarm.PortConfigPublishModeHost,
			})
		}
	}
	return out
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
