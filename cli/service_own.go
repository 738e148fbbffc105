package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

// ownFlags are for what Docker's service spec has no field for. They are
// shorthand for labels of the service, which Docker's CLI and Compose files
// can set as well. On update an empty value, false or 0 takes a setting away.
func ownFlags() []*opt {
	return []*opt{
		{name: "privileged", kind: boolKind, usage: "Give extended privileges to the containers"},
		{name: "gpus", kind: gpuKind, usage: "GPU devices to add to the containers ('all' to pass all GPUs)"},
		{name: "pid", kind: stringKind, usage: `PID namespace to use ("host")`},
		{name: "ipc", kind: stringKind, usage: `IPC mode to use ("none", "private", "shareable", "host")`},
		{name: "shm-size", kind: bytesKind, usage: "Size of /dev/shm"},
		{name: "update-canary", kind: shareKind, usage: "Stop updates at so many replicas, until these are promoted or rolled back (N or N%; 100%: blue-green)"},
		{name: "update-canary-promote-after", kind: delayKind, usage: "Promote a canary when it has been well for this time (ns|us|ms|s|m|h)"},
		{name: "update-progress-deadline", kind: deadlineKind, usage: "Fail an update that stands still for this time (default 10m, 0: never) (ns|us|ms|s|m|h)"},
		{name: "reschedule-after", kind: delayKind, usage: "Replace the tasks of a node when it has been down for this time (default 0s) (ns|us|ms|s|m|h)"},
		{name: "rebalance", kind: delayKind, usage: "Move tasks when the nodes have been out of balance for this time (ns|us|ms|s|m|h)"},
		{name: "strategy", kind: strategyKind, usage: `Which nodes to fill first ("spread", "binpack", "capacity")`},
		{name: "depends-on", kind: dependsKind, usage: "Start tasks after those of other services (NAME[:started|healthy|completed][:optional], several with commas)"},
		{name: "self-stop", kind: delayKind, usage: "Stop tasks whose node has been cut off from the managers for this time, 5s at the least (ns|us|ms|s|m|h)"},
	}
}

// labelOf has, for each flag whose value is its label's, the label.
var labelOf = map[string]string{
	"gpus": setting.LabelGPUs, "pid": setting.LabelPID, "ipc": setting.LabelIPC,
	"update-canary": setting.LabelCanary, "update-canary-promote-after": setting.LabelPromoteAfter, "update-progress-deadline": setting.LabelProgressDeadline,
	"reschedule-after": setting.LabelRescheduleAfter, "rebalance": setting.LabelRebalance, "strategy": setting.LabelStrategy, "self-stop": setting.LabelSelfStop, "depends-on": setting.LabelDependsOn,
	"pod": setting.LabelPod,
}

var (
	deviceKind   = kind{"list", true, parser(setting.ParseDevices)}
	gpuKind      = kind{"gpu-request", false, checked(setting.ParseGPUs)}
	shareKind    = kind{"share", false, checked(setting.ParseShare)}
	strategyKind = kind{"string", false, checked(setting.ParseStrategy)}
	dependsKind  = kind{"services", false, checked(setting.ParseDependencies)}
	deadlineKind = kind{"duration", false, checked(parsePeriod)}
	// delayKind is for durations of which 0 says as much as none.
	delayKind = kind{"duration", false, func(s string) (any, error) {
		if d, err := time.ParseDuration(s); err == nil && d == 0 {
			s = ""
		}
		return deadlineKind.parse(s)
	}}
)

// checked parses a value that is handed on as it was given, or is empty.
func checked[T any](parse func(string) (T, error)) func(string) (any, error) {
	return parser(func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		_, err := parse(s)
		return s, err
	})
}

// changeOwn applies those flags to a service's labels; devices come in one
// flag on create and in two on update.
func changeOwn(g given, labels *map[string]string) error {
	if g.has("privileged") {
		setLabel(labels, setting.LabelPrivileged, map[bool]string{true: "true"}[g.yes("privileged")])
	}
	for flag, label := range labelOf {
		if g.has(flag) {
			setLabel(labels, label, g.str(flag))
		}
	}
	if g.has("shm-size") {
		size := ""
		if n := one(g, "shm-size", int64(0)); n != 0 {
			size = strconv.FormatInt(n, 10)
		}
		setLabel(labels, setting.LabelShmSize, size)
	}
	if g.has("device", "device-add", "device-rm") {
		return changeDevices(g, labels)
	}
	return nil
}

// changeDevices removes devices by their path, on the node or in the
// container, and adds, replacing what is at the same place in the container.
func changeDevices(g given, labels *map[string]string) error {
	var have []setting.Device
	if text := (*labels)[setting.LabelDevices]; text != "" {
		var err error
		if have, err = setting.ParseDevices(text); err != nil {
			return fmt.Errorf("label %s: %w", setting.LabelDevices, err)
		}
	}
	gone := g.set("device-rm")
	have = slices.DeleteFunc(have, func(d setting.Device) bool { return gone[d.Host] || gone[d.Container] })
	for _, d := range slices.Concat(append(all[[]setting.Device](g, "device"), all[[]setting.Device](g, "device-add")...)...) {
		have = append(slices.DeleteFunc(have, func(h setting.Device) bool { return h.Container == d.Container }), d)
	}
	texts := make([]string, len(have))
	for i, d := range have {
		texts[i] = d.String()
	}
	setLabel(labels, setting.LabelDevices, strings.Join(texts, ","))
	return nil
}

// changeHostIPs binds the ports that flags publish to the addresses given with
// them, and forgets those of ports that are published no more.
func changeHostIPs(g given, spec *swarm.ServiceSpec) error {
	if !g.has("publish", "publish-add", "publish-rm") {
		return nil
	}
	ips := setting.HostIPs{}
	if text := spec.Labels[setting.LabelHostIP]; text != "" {
		var err error
		if ips, err = setting.ParseHostIPs(text); err != nil {
			return fmt.Errorf("label %s: %w", setting.LabelHostIP, err)
		}
	}
	for _, p := range slices.Concat(append(all[[]publication](g, "publish"), all[[]publication](g, "publish-add")...)...) {
		key := setting.HostPort{Published: p.PublishedPort, Protocol: p.Protocol}
		if delete(ips, key); p.hostIP.IsValid() {
			ips[key] = p.hostIP
		}
	}
	var ports []swarm.PortConfig
	if spec.EndpointSpec != nil {
		ports = spec.EndpointSpec.Ports
	}
	for _, key := range ips.Ports() {
		published := func(p swarm.PortConfig) bool { return p.PublishedPort == key.Published && p.Protocol == key.Protocol }
		if key != (setting.HostPort{}) && !slices.ContainsFunc(ports, published) {
			delete(ips, key)
		}
	}
	setLabel(&spec.Labels, setting.LabelHostIP, ips.String())
	return nil
}
