package daemon

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"google.golang.org/protobuf/proto"

	"github.com/swarmctl/swarmctl/api/wire"
)

// onCluster takes what a manager says of the cluster; it is kept for the next start.
func (m *member) onCluster(info *wire.ClusterInfo) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(info)
	if err != nil {
		m.log.Error("cluster info cannot be encoded", "err", err)
		return
	}
	m.mu.Lock()
	m.cluster = info
	changed := string(data) != string(m.set.Cluster)
	m.set.Cluster = data
	set := m.set
	close(m.updated)
	m.updated = make(chan struct{})
	m.mu.Unlock()
	m.once.Do(func() { close(m.heard) })
	if changed {
		if err := set.save(m.d.cfg.StateDir); err != nil {
			m.log.Error("the node's settings are not saved", "err", err)
		}
	}
}

// followCertificate asks for another certificate while the role of this one is
// not the node's, or its issuer not the root that signs now. It looks again
// after each: the one that has just come may have been asked for before the
// latest change, or of a manager that had not heard of it.
func (m *member) followCertificate(ctx context.Context) error {
	var rest <-chan time.Time // for a manager that has not heard of the change to hear of it
	for {
		_, renewed := m.ids.Watch()
		info, updated := m.watchCluster()
		if !m.roleDiffers(info) && !m.followRoots(info.GetRootsPem()) {
			rest = nil
		} else if rest == nil {
			m.renew.RenewNow()
			rest = time.After(roleRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-renewed:
		case <-updated:
			rest = nil
		case <-rest:
			rest = nil
		}
	}
}

// followRoots has the node trust the roots of its cluster, and says whether its
// certificate must change because another root signs now. The roots come with
// the certificate then.
func (m *member) followRoots(rootsPEM []byte) (renew bool) {
	at := bytes.LastIndex(rootsPEM, []byte("-----BEGIN"))
	if at < 0 {
		return false // it is what the node knew before it heard of a manager
	}
	id := m.ids.Current()
	switch {
	case !id.IssuedBy(rootsPEM[at:]):
		return true
	case bytes.Equal(id.TrustPEM(), rootsPEM):
		return false
	}
	if err := m.ids.Trust(rootsPEM); err != nil {
		m.log.Error("the cluster's roots are not taken over", "err", err)
	}
	return false
}

// roleDiffers says that the certificate must change. A manager that is to be a
// worker waits until the Raft group has let it go.
func (m *member) roleDiffers(info *wire.ClusterInfo) bool {
	spec, err := nodeSpec(info)
	if err != nil {
		return false
	}
	switch role := m.ids.Current().Role; {
	case role == spec.Role:
		return false
	case spec.Role == swarm.NodeRoleManager:
		return true
	default:
		return !m.listed(info)
	}
}

// leftOut says that the node is to be a manager and is not counted as one.
func (m *member) leftOut(info *wire.ClusterInfo) bool {
	spec, err := nodeSpec(info)
	return err == nil && spec.Role == swarm.NodeRoleManager && !m.listed(info)
}

func (m *member) listed(info *wire.ClusterInfo) bool {
	return slices.ContainsFunc(info.GetManagers(), func(p *wire.Peer) bool { return p.GetNodeId() == string(m.id()) })
}

func (m *member) watchCluster() (*wire.ClusterInfo, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cluster, m.updated
}

// managerPeers are the managers that the node knows, itself first if it is
// one: its own replica of the state is the nearest.
func (m *member) managerPeers() []*wire.Peer {
	info, _ := m.watchCluster()
	list := slices.Clone(info.GetManagers())
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	self := &wire.Peer{NodeId: string(m.id()), Addr: m.settings().AdvertiseAddr}
	list = slices.DeleteFunc(list, func(p *wire.Peer) bool { return p.GetNodeId() == self.NodeId })
	if m.manager() != nil {
		list = append([]*wire.Peer{self}, list...)
	}
	return list
}

func (m *member) managerAddrs() (addrs []string) {
	for _, p := range m.managerPeers() {
		addrs = append(addrs, p.GetAddr())
	}
	return addrs
}

func (m *member) settings() settings {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.set
}

func (m *member) advertiseHost() string {
	host, _, err := net.SplitHostPort(m.settings().AdvertiseAddr)
	if err != nil {
		return m.settings().AdvertiseAddr
	}
	return host
}
