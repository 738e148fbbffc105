package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
)

func swarmVerbs() []verb {
	return []verb{
		swarmCAVerb(),
		{name: "init", usage: "Make a cluster, with this host as its first manager", flags: slices.Concat(initFlags(), clusterFlags("Enable manager autolocking (requiring an unlock key to start a stopped manager)"), memberFlags(), nodeFlags()), do: swarmInit,
			long: "Starts the daemon of this node where none runs, and returns when the node is ready."},
		{name: "join", args: "HOST:PORT", usage: "Join this host to a cluster, as the worker or manager that the token is for", min: 1, max: 1, do: swarmJoin,
			long:  "Starts the daemon of this node where none runs, and returns when the node is ready.",
			flags: slices.Concat([]*opt{{name: "token", kind: stringKind, usage: "The token that join-token shows on a manager"}}, memberFlags(), nodeFlags())},
		{name: "join-token", args: "(worker|manager)", usage: "Show or rotate the token that hosts join with", min: 1, max: 1, do: swarmJoinToken, flags: []*opt{
			quietFlag("Only display the token"), {name: "rotate", kind: boolKind, usage: "Make a new token; the old one lets nobody in any more"},
		}},
		{name: "leave", usage: "Take this host out of its cluster", do: swarmLeave, flags: []*opt{
			{name: "force", short: "f", kind: boolKind, usage: "Leave although this is a manager; the message without it says what is lost"},
			{name: "stop-daemon", kind: boolKind, usage: "Stop this node's daemon too; succeeds where the node is no member, or no daemon runs"},
		}},
		{name: "unlock", usage: "Unlock this manager", do: swarmUnlock,
			long: "Asks for the unlock key on a terminal, and reads it from the standard input elsewhere."},
		{name: "unlock-key", usage: "Show or rotate the key that managers of a locked cluster need to start", do: swarmUnlockKey, flags: []*opt{
			quietFlag("Only display the key"), {name: "rotate", kind: boolKind, usage: "Make a new key; keep the old one until every manager has taken the new one up"},
		}},
		swarmUpdateVerb(),
	}
}

// memberFlags are those that init and join share.
func memberFlags() []*opt {
	return []*opt{
		{name: "advertise-addr", kind: stringKind, usage: `Advertised address (format: "<ip|interface>[:port]")`},
		{name: "availability", kind: stringKind, def: `"active"`, usage: `Availability of the node ("active", "pause", "drain")`},
		{name: "data-path-addr", kind: stringKind, usage: `Address or interface to use for data path traffic (format: "<ip|interface>")`},
		{name: "listen-addr", kind: nodeAddrKind, def: defaultListen, usage: `Listen address (format: "<ip|interface>[:port]")`},
	}
}

const defaultListen = "0.0.0.0:2377"

func initFlags() []*opt {
	return []*opt{
		{name: "data-path-port", kind: uint32Kind, usage: "Port number to use for data path traffic (1024 - 49151). If no value is set or is set to 0, the default port (4789) is used."},
		{name: "default-addr-pool", kind: poolKind, usage: "default address pool in CIDR format"},
		{name: "default-addr-pool-mask-length", kind: uint32Kind, def: "24", usage: "default address pool subnet mask length"},
		{name: "force-new-cluster", kind: boolKind, usage: "Force create a new cluster from current state"},
	}
}

// availability checks the flag; empty means the daemon's default, active.
func availability(g given) (swarm.NodeAvailability, error) {
	a := swarm.NodeAvailability(g.str("availability"))
	if g.has("availability") && !slices.Contains([]swarm.NodeAvailability{swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain}, a) {
		return "", fmt.Errorf("invalid availability %q, only active, pause and drain are supported", a)
	}
	return a, nil
}

// initRequest turns init's flags into the API's request.
func initRequest(g given) (swarm.InitRequest, error) {
	req := swarm.InitRequest{
		ListenAddr: one(g, "listen-addr", defaultListen), AdvertiseAddr: g.str("advertise-addr"),
		DataPathAddr: g.str("data-path-addr"), DataPathPort: one(g, "data-path-port", uint32(0)),
		DefaultAddrPool: g.strs("default-addr-pool"), SubnetSize: one(g, "default-addr-pool-mask-length", uint32(24)),
		ForceNewCluster: g.yes("force-new-cluster"),
	}
	a, err := availability(g)
	req.Availability, req.AutoLockManagers = a, g.yes("autolock")
	return req, errors.Join(err, changeCluster(g, &req.Spec))
}

func swarmInit(ctx context.Context, c *call) error {
	req, err := initRequest(c.flags)
	if err != nil {
		return err
	}
	err = c.withDaemon(ctx, func() error {
		_, err := c.api().SwarmInit(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	info, err := c.ready(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Swarm initialized: current node (%s) is now a manager.\n\n", info.Swarm.NodeID)
	if err := c.printJoin(ctx, "worker"); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "To add a manager to this swarm, run '%s join-token manager' and follow the instructions.\n", progName)
	if req.AutoLockManagers {
		return c.printUnlock(ctx)
	}
	return nil
}

func swarmJoin(ctx context.Context, c *call) error {
	req := swarm.JoinRequest{
		ListenAddr: one(c.flags, "listen-addr", defaultListen), AdvertiseAddr: c.flags.str("advertise-addr"),
		DataPathAddr: c.flags.str("data-path-addr"), RemoteAddrs: []string{c.args[0]}, JoinToken: c.flags.str("token"),
	}
	if req.JoinToken == "" {
		return fmt.Errorf("a token is needed to join: run `%s join-token worker` (or manager) on a manager, and give it with --token", progName)
	}
	var err error
	if req.Availability, err = availability(c.flags); err != nil {
		return err
	}
	if err := c.withDaemon(ctx, func() error { return c.api().SwarmJoin(ctx, req) }); err != nil {
		return err
	}
	info, err := c.ready(ctx)
	if err != nil {
		return err
	}
	role := "worker"
	if info.Swarm.ControlAvailable {
		role = "manager"
	}
	fmt.Fprintf(c.out, "This node joined a swarm as a %s.\n", role)
	return nil
}

// How long init and join wait for the node once the daemon has accepted it.
const (
	readyPatience = 60 * time.Second
	readyLook     = 50 * time.Millisecond
)

// ready waits until the node says that it is an active member.
func (c *call) ready(ctx context.Context) (system.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for {
		info, err := c.api().Info(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return info, err
		case ctx.Err() != nil:
			return info, fmt.Errorf("the node is not ready after %s (state %q): `%s info` shows how it is", readyPatience, info.Swarm.LocalNodeState, progName)
		case info.Swarm.LocalNodeState == swarm.LocalNodeStateActive:
			return info, nil
		case info.Swarm.LocalNodeState == swarm.LocalNodeStateError:
			return info, fmt.Errorf("the node could not become a member: %s", info.Swarm.Error)
		}
		if err := pause(ctx, nil, readyLook); err != nil {
			continue // the loop says why
		}
	}
}

// printJoin prints the command that adds a node of the role.
func (c *call) printJoin(ctx context.Context, role string) error {
	sw, err := c.api().SwarmInspect(ctx)
	if err != nil {
		return err
	}
	info, err := c.api().Info(ctx)
	if err != nil {
		return err
	}
	addr := ""
	for _, m := range info.Swarm.RemoteManagers {
		if m.NodeID == info.Swarm.NodeID || addr == "" {
			addr = m.Addr
		}
	}
	fmt.Fprintf(c.out, "To add a %s to this swarm, run the following command:\n\n    %s join --token %s %s\n\n", role, progName, tokenOf(sw, role), addr)
	return nil
}

func tokenOf(sw swarm.Swarm, role string) string {
	if role == "manager" {
		return sw.JoinTokens.Manager
	}
	return sw.JoinTokens.Worker
}

func swarmJoinToken(ctx context.Context, c *call) error {
	role := c.args[0]
	if role != "worker" && role != "manager" {
		return fmt.Errorf("unknown role %s", role)
	}
	if c.flags.yes("rotate") {
		if err := c.rotateToken(ctx, role); err != nil {
			return err
		}
		if !c.flags.yes("quiet") {
			fmt.Fprintf(c.out, "Successfully rotated %s join token.\n\n", role)
		}
	}
	if !c.flags.yes("quiet") {
		return c.printJoin(ctx, role)
	}
	sw, err := c.api().SwarmInspect(ctx)
	if err == nil {
		fmt.Fprintln(c.out, tokenOf(sw, role))
	}
	return err
}

func (c *call) rotateToken(ctx context.Context, role string) error {
	flags := swarm.UpdateFlags{RotateWorkerToken: role == "worker", RotateManagerToken: role == "manager"}
	return c.changeSwarm(ctx, flags, func(*swarm.Swarm) error { return nil })
}

func swarmLeave(ctx context.Context, c *call) error {
	stop := c.flags.yes("stop-daemon")
	err := c.api().SwarmLeave(ctx, c.flags.yes("force"))
	switch {
	case err == nil:
		fmt.Fprintln(c.out, "Node left the swarm.")
	case stop && client.IsErrConnectionFailed(err):
		return nil
	case !stop:
		return err
	default:
		info, infoErr := c.api().Info(ctx)
		if infoErr != nil || info.Swarm.LocalNodeState != swarm.LocalNodeStateInactive {
			return err // a member that did not leave keeps its daemon
		}
	}
	if stop {
		return c.stopDaemon(ctx)
	}
	return nil
}
