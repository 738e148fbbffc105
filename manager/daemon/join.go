package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/docker/docker/api/types/swarm"
	"google.golang.org/protobuf/proto"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	joiner "github.com/swarmctl/swarmctl/api/identity/join"
	"github.com/swarmctl/swarmctl/api/wire"
)

// Join implements dockerapi.Node. What a join leaves in the state directory is
// gone again if the join fails; one that is cut off goes on at the next start.
func (d *Daemon) Join(ctx context.Context, req swarm.JoinRequest) error {
	ctx = context.WithoutCancel(ctx) // as Init
	d.ops.Lock()
	defer d.ops.Unlock()
	if d.current() != nil || d.isLocked() {
		return errMember
	}
	if len(req.RemoteAddrs) == 0 {
		return api.Errorf(api.CodeInvalid, "join needs the address of a manager: swarmctl join --token TOKEN HOST:PORT")
	}
	if err := identity.CheckToken(req.JoinToken); err != nil {
		return err
	}
	if req.AdvertiseAddr == "" && isUnspecified(hostOf(req.ListenAddr)) {
		// The address from which the manager is reached is the one it can answer.
		req.AdvertiseAddr = addrTowards(withPort(req.RemoteAddrs[0]))
	}
	set, err := d.prepare(ctx, req.ListenAddr, req.AdvertiseAddr, req.DataPathAddr)
	if err != nil {
		return err
	}
	d.setJoining(true)
	defer d.setJoining(false)
	joined, set, err := d.fetchIdentity(ctx, req, set)
	if err != nil {
		// The join key stays: tried again, this is the same node.
		return errors.Join(err, removeMembership(d.cfg.StateDir, joined != nil))
	}
	m := newMember(d, identity.NewSource(joined.Identity, d.cfg.StateDir, joined.UnlockKey), set)
	if err := d.begin(ctx, m); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	return nil
}

// fetchIdentity asks the managers one after another; the answer of the last
// one that could be asked is the error.
func (d *Daemon) fetchIdentity(ctx context.Context, req swarm.JoinRequest, set settings) (joined *joiner.Joined, _ settings, err error) {
	if err := set.save(d.cfg.StateDir); err != nil {
		return nil, set, err
	}
	for _, addr := range req.RemoteAddrs {
		joined, err = joiner.Join(ctx, joiner.Request{
			Dir: d.cfg.StateDir, Addr: withPort(addr), Token: req.JoinToken, Availability: string(req.Availability), Routes: d.routes(),
		})
		if err == nil {
			break
		}
	}
	if err != nil {
		return nil, set, err
	}
	info := &wire.ClusterInfo{ClusterId: joined.Identity.ClusterID, Managers: joined.Managers}
	if set.Cluster, err = proto.Marshal(info); err != nil {
		return nil, set, err
	}
	return joined, set, set.save(d.cfg.StateDir)
}

func (d *Daemon) setJoining(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.joining = on
}

// addrTowards is this host's address on the way to another; empty if there is
// no way. Nothing is sent: a UDP socket only looks up its route.
func addrTowards(remote string) string {
	conn, err := net.Dial("udp", remote)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	return conn.LocalAddr().(*net.UDPAddr).IP.String()
}
