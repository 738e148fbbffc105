package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/docker/docker/api"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/go-units"
)

func infoVerb() verb {
	return verb{name: "info", usage: "Show what this node, its cluster and its engine are like", flags: []*opt{inspectFormatFlag()}, do: showInfo}
}

// clientInfo is this program's part of info.
type clientInfo struct{ Version, Socket string }

// fullInfo is what a template of info sees.
type fullInfo struct {
	*system.Info
	ClientInfo clientInfo
}

func showInfo(ctx context.Context, c *call) error {
	info, err := c.api().Info(ctx)
	me := clientInfo{Version: c.app.Version, Socket: c.socket}
	if format := c.flags.str("format"); format != "" {
		if err != nil {
			return err
		}
		return printOne(c.out, format, fullInfo{&info, me})
	}
	fmt.Fprintf(c.out, "Client:\n Version:    %s\n Socket:     %s\n\nServer:\n", me.Version, me.Socket)
	if err != nil {
		return err
	}
	printInfo(c.out, info)
	warn(c.err, info.Warnings)
	return nil
}

func printInfo(w io.Writer, i system.Info) {
	p := func(format string, args ...any) { fmt.Fprintf(w, " "+format+"\n", args...) }
	ifSet := func(title, value string) {
		if value != "" {
			p("%s %s", title, value)
		}
	}
	p("Containers: %d\n  Running: %d\n  Paused: %d\n  Stopped: %d", i.Containers, i.ContainersRunning, i.ContainersPaused, i.ContainersStopped)
	p("Images: %d", i.Images)
	ifSet("Server Version:", i.ServerVersion)
	ifSet("Storage Driver:", i.Driver)
	for _, s := range i.DriverStatus {
		p(" %s: %s", s[0], s[1])
	}
	ifSet("Logging Driver:", i.LoggingDriver)
	ifSet("Cgroup Driver:", i.CgroupDriver)
	ifSet("Cgroup Version:", i.CgroupVersion)
	p("Plugins:\n  Volume: %s\n  Network: %s\n  Log: %s", strings.Join(i.Plugins.Volume, " "), strings.Join(i.Plugins.Network, " "), strings.Join(i.Plugins.Log, " "))
	printSwarm(w, i.Swarm)
	if len(i.Runtimes) > 0 {
		p("Runtimes: %s", strings.Join(slices.Sorted(maps.Keys(i.Runtimes)), " "))
		p("Default Runtime: %s", i.DefaultRuntime)
	}
	ifSet("Init Binary:", i.InitBinary)
	ifSet("containerd version:", i.ContainerdCommit.ID)
	ifSet("runc version:", i.RuncCommit.ID)
	ifSet("Kernel Version:", i.KernelVersion)
	ifSet("Operating System:", i.OperatingSystem)
	ifSet("OSType:", i.OSType)
	ifSet("Architecture:", i.Architecture)
	p("CPUs: %d\n Total Memory: %s", i.NCPU, units.BytesSize(float64(i.MemTotal)))
	ifSet("Name:", i.Name)
	ifSet("ID:", i.ID)
	ifSet("Docker Root Dir:", i.DockerRootDir)
	p("Debug Mode: %t", i.Debug)
	if len(i.Labels) > 0 {
		p("Labels:\n  %s", strings.Join(i.Labels, "\n  "))
	}
	p("Experimental: %t\n Live Restore Enabled: %t", i.ExperimentalBuild, i.LiveRestoreEnabled)
}

// printSwarm is the Swarm section of info.
func printSwarm(w io.Writer, s swarm.Info) {
	p := func(format string, args ...any) { fmt.Fprintf(w, "  "+format+"\n", args...) }
	fmt.Fprintf(w, " Swarm: %s\n", s.LocalNodeState)
	if s.LocalNodeState == swarm.LocalNodeStateInactive || s.LocalNodeState == swarm.LocalNodeStateLocked {
		return
	}
	p("NodeID: %s", s.NodeID)
	if s.Error != "" {
		p("Error: %s", s.Error)
	}
	p("Is Manager: %t", s.ControlAvailable)
	if s.Cluster != nil && s.ControlAvailable && s.Error == "" && s.LocalNodeState != swarm.LocalNodeStateError {
		printCluster(w, s)
	}
	p("Node Address: %s", s.NodeAddr)
	addrs := []string{}
	for _, m := range s.RemoteManagers {
		addrs = append(addrs, m.Addr)
	}
	slices.Sort(addrs)
	if len(addrs) > 0 {
		p("Manager Addresses:\n   %s", strings.Join(addrs, "\n   "))
	}
}

func printCluster(w io.Writer, s swarm.Info) {
	p := func(format string, args ...any) { fmt.Fprintf(w, "  "+format+"\n", args...) }
	c, spec := s.Cluster, s.Cluster.Spec
	p("ClusterID: %s\n  Managers: %d\n  Nodes: %d", c.ID, s.Managers, s.Nodes)
	if len(c.DefaultAddrPool) > 0 {
		p("Default Address Pool: %s\n  SubnetSize: %d", strings.Join(c.DefaultAddrPool, "  "), c.SubnetSize)
	}
	if c.DataPathPort > 0 {
		p("Data Path Port: %d", c.DataPathPort)
	}
	history := int64(0)
	if l := spec.Orchestration.TaskHistoryRetentionLimit; l != nil {
		history = *l
	}
	p("Orchestration:\n   Task History Retention Limit: %d", history)
	p("Raft:\n   Snapshot Interval: %d", spec.Raft.SnapshotInterval)
	if k := spec.Raft.KeepOldSnapshots; k != nil {
		p(" Number of Old Snapshots to Retain: %d", *k)
	}
	p(" Heartbeat Tick: %d\n   Election Tick: %d", spec.Raft.HeartbeatTick, spec.Raft.ElectionTick)
	p("Dispatcher:\n   Heartbeat Period: %s", units.HumanDuration(spec.Dispatcher.HeartbeatPeriod))
	p("CA Configuration:\n   Expiry Duration: %s\n   Force Rotate: %d", units.HumanDuration(spec.CAConfig.NodeCertExpiry), spec.CAConfig.ForceRotate)
	p("Autolock Managers: %t\n  Root Rotation In Progress: %t", spec.EncryptionConfig.AutoLockManagers, c.RootRotationInProgress)
}

func versionVerb() verb {
	return verb{name: "version", usage: "Show the versions of swarmctl and of the engine", flags: []*opt{inspectFormatFlag()}, do: showVersion}
}

// clientVersion is this program's part of version.
type clientVersion struct{ Version, APIVersion, GoVersion, Os, Arch string }

func showVersion(ctx context.Context, c *call) error {
	me := clientVersion{c.app.Version, api.DefaultVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH}
	server, err := c.api().ServerVersion(ctx)
	if err == nil {
		me.APIVersion = c.api().ClientVersion()
	}
	both := struct {
		Client clientVersion
		Server *types.Version
	}{Client: me}
	if err == nil {
		both.Server = &server
	}
	if format := c.flags.str("format"); format != "" {
		if perr := printOne(c.out, format, both); perr != nil {
			return cmp.Or(err, perr)
		}
		return err
	}
	fmt.Fprintf(c.out, "Client:\n Version:           %s\n API version:       %s\n Go version:        %s\n OS/Arch:           %s/%s\n", me.Version, me.APIVersion, me.GoVersion, me.Os, me.Arch)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, "\nServer:")
	components := server.Components
	if len(components) == 0 {
		components = []types.ComponentVersion{{Name: "Engine", Version: server.Version, Details: map[string]string{"ApiVersion": server.APIVersion, "GoVersion": server.GoVersion}}}
	}
	for _, part := range components {
		printComponent(c.out, part)
	}
	return nil
}

// printComponent prints the details Docker prints, in its order.
func printComponent(w io.Writer, part types.ComponentVersion) {
	p := func(title, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-18s %s\n", title, value)
		}
	}
	fmt.Fprintf(w, " %s:\n", part.Name)
	p("Version:", part.Version)
	d := part.Details
	if d["ApiVersion"] != "" {
		min := ""
		if d["MinAPIVersion"] != "" {
			min = " (minimum version " + d["MinAPIVersion"] + ")"
		}
		p("API version:", d["ApiVersion"]+min)
	}
	p("Go version:", d["GoVersion"])
	p("Git commit:", d["GitCommit"])
	if d["Os"] != "" {
		p("OS/Arch:", d["Os"]+"/"+d["Arch"])
	}
}
