package cli

import "slices"

// sharedFlags are those that create and update have in common. On update a
// flag has no default: what is not given stays.
func sharedFlags(create bool) []*opt {
	def := func(s string) string {
		if create {
			return s
		}
		return ""
	}
	return []*opt{
		detachFlag(), quietFlag("Suppress progress output"), timeoutFlag(),
		{name: "workdir", short: "w", kind: stringKind, usage: "Working directory inside the container"},
		{name: "user", short: "u", kind: stringKind, usage: "Username or UID (format: <name|uid>[:<group|gid>])"},
		{name: "credential-spec", kind: credKind, usage: "Credential spec for managed service account (Windows only)"},
		{name: "hostname", kind: stringKind, usage: "Container hostname"},
		{name: "entrypoint", kind: commandKind, usage: "Overwrite the default ENTRYPOINT of the image"},
		{name: "cap-add", kind: listKind, usage: "Add Linux capabilities"},
		{name: "cap-drop", kind: listKind, usage: "Drop Linux capabilities"},
		{name: "limit-cpu", kind: cpuKind, usage: "Limit CPUs"},
		{name: "limit-memory", kind: bytesKind, usage: "Limit Memory"},
		{name: "limit-pids", kind: int64Kind, usage: "Limit maximum number of processes (default 0 = unlimited)"},
		{name: "reserve-cpu", kind: cpuKind, usage: "Reserve CPUs"},
		{name: "reserve-memory", kind: bytesKind, usage: "Reserve Memory"},
		{name: "stop-grace-period", kind: durationKind, def: def("10s"), usage: "Time to wait before force killing a container (ns|us|ms|s|m|h)"},
		{name: "replicas", kind: uintKind, usage: "Number of tasks"},
		{name: "max-concurrent", kind: uintKind, usage: "Number of job tasks to run concurrently (default equal to --replicas)"},
		{name: "replicas-max-per-node", kind: uintKind, usage: "Maximum number of tasks per node (default 0 = unlimited)"},
		{name: "restart-condition", kind: stringKind, def: def(`"any"`), usage: `Restart when condition is met ("none", "on-failure", "any")`},
		{name: "restart-delay", kind: durationKind, def: def("5s"), usage: "Delay between restart attempts (ns|us|ms|s|m|h)"},
		{name: "restart-max-attempts", kind: uintKind, usage: "Maximum number of restarts before giving up"},
		{name: "restart-window", kind: durationKind, usage: "Window used to evaluate the restart policy (ns|us|ms|s|m|h)"},
		{name: "update-parallelism", kind: uintKind, def: def("1"), usage: "Maximum number of tasks updated simultaneously (0 to update all at once)"},
		{name: "update-delay", kind: durationKind, def: def("0s"), usage: "Delay between updates (ns|us|ms|s|m|h)"},
		{name: "update-monitor", kind: durationKind, def: def("5s"), usage: "Duration after each task update to monitor for failure (ns|us|ms|s|m|h)"},
		{name: "update-failure-action", kind: stringKind, def: def(`"pause"`), usage: `Action on update failure ("pause", "continue", "rollback")`},
		{name: "update-max-failure-ratio", kind: floatKind, def: def("0"), usage: "Failure rate to tolerate during an update"},
		{name: "update-order", kind: stringKind, def: def(`"stop-first"`), usage: `Update order ("start-first", "stop-first")`},
		{name: "rollback-parallelism", kind: uintKind, def: def("1"), usage: "Maximum number of tasks rolled back simultaneously (0 to roll back all at once)"},
		{name: "rollback-delay", kind: durationKind, def: def("0s"), usage: "Delay between task rollbacks (ns|us|ms|s|m|h)"},
		{name: "rollback-monitor", kind: durationKind, def: def("5s"), usage: "Duration after each task rollback to monitor for failure (ns|us|ms|s|m|h)"},
		{name: "rollback-failure-action", kind: stringKind, def: def(`"pause"`), usage: `Action on rollback failure ("pause", "continue")`},
		{name: "rollback-max-failure-ratio", kind: floatKind, def: def("0"), usage: "Failure rate to tolerate during a rollback"},
		{name: "rollback-order", kind: stringKind, def: def(`"stop-first"`), usage: `Rollback order ("start-first", "stop-first")`},
		{name: "endpoint-mode", kind: stringKind, def: def(`"vip"`), usage: "Endpoint mode (vip or dnsrr)"},
		{name: "with-registry-auth", kind: boolKind, usage: "Send registry authentication details to the nodes"},
		{name: "no-resolve-image", kind: boolKind, usage: "Do not query the registry to resolve image digest and supported platforms"},
		{name: "log-driver", kind: stringKind, usage: "Logging driver for service"},
		{name: "log-opt", kind: envKind, usage: "Logging driver options"},
		{name: "health-cmd", kind: stringKind, usage: "Command to run to check health"},
		{name: "health-interval", kind: periodKind, usage: "Time between running the check (ms|s|m|h)"},
		{name: "health-timeout", kind: periodKind, usage: "Maximum time to allow one check to run (ms|s|m|h)"},
		{name: "health-retries", kind: intKind, usage: "Consecutive failures needed to report unhealthy"},
		{name: "health-start-period", kind: periodKind, usage: "Start period for the container to initialize before counting retries towards unstable (ms|s|m|h)"},
		{name: "health-start-interval", kind: periodKind, usage: "Time between running the check during the start period (ms|s|m|h)"},
		{name: "no-healthcheck", kind: boolKind, usage: "Disable any container-specified HEALTHCHECK"},
		{name: "tty", short: "t", kind: boolKind, usage: "Allocate a pseudo-TTY"},
		{name: "read-only", kind: boolKind, usage: "Mount the container's root filesystem as read only"},
		{name: "stop-signal", kind: stringKind, usage: "Signal to stop the container"},
		{name: "isolation", kind: stringKind, usage: "Service container isolation mode"},
		{name: "init", kind: boolKind, usage: "Use an init inside each service container to forward signals and reap processes"},
		{name: "oom-score-adj", kind: int64Kind, usage: "Tune host's OOM preferences (-1000 to 1000)"},
	}
}

func createFlags() []*opt {
	return slices.Concat(sharedFlags(true), ownFlags(), []*opt{
		{name: "name", kind: stringKind, usage: "Service name"},
		{name: "mode", kind: stringKind, def: `"replicated"`, usage: `Service mode ("replicated", "global", "replicated-job", "global-job")`},
		{name: "label", short: "l", kind: labelKind, usage: "Service labels"},
		{name: "container-label", kind: labelKind, usage: "Container labels"},
		{name: "env", short: "e", kind: envKind, usage: "Set environment variables"},
		{name: "env-file", kind: listKind, usage: "Read in a file of environment variables"},
		{name: "mount", kind: mountKind, usage: "Attach a filesystem mount to the service"},
		{name: "constraint", kind: listKind, usage: "Placement constraints"},
		{name: "placement-pref", kind: prefKind, usage: "Add a placement preference"},
		{name: "network", kind: networkKind, usage: "Network attachments"},
		{name: "secret", kind: secretKind, usage: "Specify secrets to expose to the service"},
		{name: "config", kind: configKind, usage: "Specify configurations to expose to the service"},
		{name: "publish", short: "p", kind: portKind, usage: "Publish a port as a node port"},
		{name: "group", kind: listKind, usage: "Set one or more supplementary user groups for the container"},
		{name: "dns", kind: ipKind, usage: "Set custom DNS servers"},
		{name: "dns-option", kind: listKind, usage: "Set DNS options"},
		{name: "dns-search", kind: domainKind, usage: "Set custom DNS search domains"},
		{name: "host", kind: hostKind, usage: "Set one or more custom host-to-IP mappings (host:ip)"},
		{name: "sysctl", kind: listKind, usage: "Sysctl options"},
		{name: "ulimit", kind: ulimitKind, usage: "Ulimit options"},
		{name: "generic-resource", kind: genericKind, usage: "User defined resources"},
		{name: "device", kind: deviceKind, usage: "Add a device of the node to the containers (host[:container[:permissions]])"},
		{name: "pod", kind: stringKind, usage: "Run a sidecar beside each task of another service, in its network namespace"},
	})
}

func updateFlags() []*opt {
	return slices.Concat(sharedFlags(false), ownFlags(), []*opt{
		{name: "image", kind: stringKind, usage: "Service image tag"},
		{name: "args", kind: commandKind, usage: "Service command args"},
		{name: "rollback", kind: boolKind, usage: "Rollback to previous specification"},
		{name: "force", kind: boolKind, usage: "Force update even if no changes require it"},
		{name: "env-add", kind: envKind, usage: "Add or update an environment variable"},
		{name: "env-rm", kind: listKind, usage: "Remove an environment variable"},
		{name: "group-add", kind: listKind, usage: "Add an additional supplementary user group to the container"},
		{name: "group-rm", kind: listKind, usage: "Remove a previously added supplementary user group from the container"},
		{name: "label-add", kind: labelKind, usage: "Add or update a service label"},
		{name: "label-rm", kind: listKind, usage: "Remove a label by its key"},
		{name: "container-label-add", kind: labelKind, usage: "Add or update a container label"},
		{name: "container-label-rm", kind: listKind, usage: "Remove a container label by its key"},
		{name: "mount-add", kind: mountKind, usage: "Add or update a mount on a service"},
		{name: "mount-rm", kind: listKind, usage: "Remove a mount by its target path"},
		{name: "publish-add", kind: portKind, usage: "Add or update a published port"},
		{name: "publish-rm", kind: portKind, usage: "Remove a published port by its target port"},
		{name: "constraint-add", kind: listKind, usage: "Add or update a placement constraint"},
		{name: "constraint-rm", kind: listKind, usage: "Remove a constraint"},
		{name: "placement-pref-add", kind: prefKind, usage: "Add a placement preference"},
		{name: "placement-pref-rm", kind: prefKind, usage: "Remove a placement preference"},
		{name: "network-add", kind: networkKind, usage: "Add a network"},
		{name: "network-rm", kind: listKind, usage: "Remove a network"},
		{name: "dns-add", kind: ipKind, usage: "Add or update a custom DNS server"},
		{name: "dns-rm", kind: listKind, usage: "Remove a custom DNS server"},
		{name: "dns-option-add", kind: listKind, usage: "Add or update a DNS option"},
		{name: "dns-option-rm", kind: listKind, usage: "Remove a DNS option"},
		{name: "dns-search-add", kind: domainKind, usage: "Add or update a custom DNS search domain"},
		{name: "dns-search-rm", kind: listKind, usage: "Remove a DNS search domain"},
		{name: "host-add", kind: hostKind, usage: `Add a custom host-to-IP mapping ("host:ip")`},
		{name: "host-rm", kind: listKind, usage: `Remove a custom host-to-IP mapping ("host:ip")`},
		{name: "secret-add", kind: secretKind, usage: "Add or update a secret on a service"},
		{name: "secret-rm", kind: listKind, usage: "Remove a secret"},
		{name: "config-add", kind: configKind, usage: "Add or update a config file on a service"},
		{name: "config-rm", kind: listKind, usage: "Remove a configuration file"},
		{name: "sysctl-add", kind: listKind, usage: "Add or update a Sysctl option"},
		{name: "sysctl-rm", kind: listKind, usage: "Remove a Sysctl option"},
		{name: "ulimit-add", kind: ulimitKind, usage: "Add or update a ulimit option"},
		{name: "ulimit-rm", kind: listKind, usage: "Remove a ulimit option"},
		{name: "generic-resource-add", kind: genericKind, usage: "Add a Generic resource"},
		{name: "generic-resource-rm", kind: listKind, usage: "Remove a Generic resource"},
		{name: "device-add", kind: deviceKind, usage: "Add or update a device of the node (host[:container[:permissions]])"},
		{name: "device-rm", kind: listKind, usage: "Remove a device by its path"},
	})
}

func detachFlag() *opt {
	return &opt{name: "detach", short: "d", kind: boolKind, usage: "Exit immediately instead of waiting for the service to converge"}
}

func timeoutFlag() *opt {
	return &opt{name: "timeout", kind: periodKind, usage: "Give up waiting after this time, with exit code 124; the cluster works on (ns|us|ms|s|m|h)"}
}
