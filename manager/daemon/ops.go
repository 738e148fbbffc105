package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
)

// readyPatience bounds how long init and join wait for the node to be ready.
const readyPatience = 60 * time.Second

var errMember = api.Errorf(api.CodeUnavailable, "This node is already part of a swarm. Use \"swarmctl leave\" to leave this swarm and join another one.")

// prepare checks what can be checked before anything is done.
func (d *Daemon) prepare(ctx context.Context, listen, advertise, dataPath string) (settings, error) {
	if err := d.engine.CheckSwarm(ctx); err != nil {
		return settings{}, err
	}
	l, err := listenAddr(listen)
	if err != nil {
		return settings{}, err
	}
	a, err := advertiseAddr(advertise, l)
	if err != nil {
		return settings{}, err
	}
	if err := checkDataPath(dataPath, a); err != nil {
		return settings{}, err
	}
	if err := checkPorts(l, a); err != nil {
		return settings{}, err
	}
	return settings{ListenAddr: l, AdvertiseAddr: a, DataPathAddr: dataPath}, nil
}

// checkDataPath refuses what would be forgotten: there is no traffic yet that
// would take another way than the cluster's own.
func checkDataPath(dataPath, advertise string) error {
	if dataPath == "" {
		return nil
	}
	ip, err := resolveHost("data-path", dataPath)
	if err == nil && ip != hostOf(advertise) {
		err = api.Errorf(api.CodeUnsupported, "not supported yet: a data path address (%s) other than the advertised one (%s): networks that span hosts come with a later version of swarmctl", ip, hostOf(advertise))
	}
	return err
}

// checkPorts finds out now, and not when the node half exists, that a port is
// taken.
func checkPorts(listen, advertise string) error {
	l, err := listenPort(listen)
	if err != nil {
		return err
	}
	_ = l.Close()
	gossip := net.JoinHostPort(hostOf(advertise), fmt.Sprint(gossipPort))
	t, err := net.Listen("tcp", gossip)
	if err != nil {
		return gossipPortError("tcp", gossip, err)
	}
	_ = t.Close()
	u, err := net.ListenPacket("udp", gossip)
	if err != nil {
		return gossipPortError("udp", gossip, err)
	}
	return u.Close()
}

func gossipPortError(proto, addr string, err error) error {
	return api.Errorf(api.CodeConflict, "gossip needs %s/%s on this host, and it cannot be had: %v: stop what uses the port, or correct --advertise-addr", addr, proto, err)
}

// begin runs a new membership and waits until the node is ready. If it does
// not get there, nothing of it remains.
func (d *Daemon) begin(ctx context.Context, m *member) error {
	d.start(m)
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	err := m.ready(ctx)
	if err == nil {
		return nil
	}
	return errors.Join(err, d.end(m))
}

// ready waits until the node has heard from the cluster and, as a manager,
// holds its state.
func (m *member) ready(ctx context.Context) error {
	up := m.managing
	if m.ids.Current().Role != identity.Manager {
		up = m.heard
	}
	for _, reached := range []chan struct{}{up, m.heard} {
		if err := m.await(ctx, reached); err != nil {
			return err
		}
	}
	return nil
}

// await waits for one thing, or for a part of the node to fail.
func (m *member) await(ctx context.Context, reached <-chan struct{}) error {
	for {
		failure, changed := m.watchFailure()
		if failure != nil {
			return failure
		}
		select {
		case <-reached:
			return nil
		case <-changed:
		case <-ctx.Done():
			return api.Errorf(api.CodeUnavailable, "the node did not become ready within %s: see the daemon's log", readyPatience)
		}
	}
}

// end stops a membership and forgets all of it, containers included.
func (d *Daemon) end(m *member) error {
	m.stop()
	d.mu.Lock()
	d.member = nil
	d.mu.Unlock()
	return removeMembership(d.cfg.StateDir, true)
}

func hostOf(addr string) string {
	host, _ := splitAddr(addr)
	return host
}
