package servicespec_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
)

// Each case is merged into the spec of a service that is all right.
func TestValidate(t *testing.T) {
	const (
		ok          = ""
		invalid     = api.CodeInvalid
		unsupported = api.CodeUnsupported
	)
	for _, tt := range []struct {
		spec string
		code api.Code
		want string
	}{
		{`{}`, ok, ""},
		{`{"Name":""}`, invalid, `meta: name must be provided`},
		{`{"Name":"we b"}`, invalid, `name must be valid as a DNS name component: "we b" is not: use letters, digits, - and _`},
		{`{"Name":"my-stack_web"}`, ok, ``},
		{`{"Labels":{"a":"b"}}`, ok, ``},
		{`{"Labels":{"swarmctl.autoscale":"1"}}`, invalid, `label "swarmctl.autoscale": this version of swarmctl knows no such label: it knows swarmctl.canary, swarmctl.canary.promote-after, swarmctl.depends-on, swarmctl.devices, swarmctl.gpus, swarmctl.host-ip, swarmctl.ipc, swarmctl.pid, swarmctl.pod, swarmctl.privileged, swarmctl.rebalance, swarmctl.reschedule.after, swarmctl.self-stop, swarmctl.shm-size, swarmctl.stopped, swarmctl.strategy, swarmctl.update.progress-deadline, swarmctl.volume.pin; other labels must not begin with "swarmctl."`},
		{`{"Labels":{"swarmctl.privileged":"true","swarmctl.devices":"/dev/fuse"}}`, ok, ``},
		{`{"Labels":{"swarmctl.privileged":"1"}}`, invalid, `label swarmctl.privileged: "1" is not a value of it: use true, false`},
		{`{"TaskTemplate":{"ContainerSpec":{"Labels":{"swarmctl.task":"x"}}}}`, invalid, `container label "swarmctl.task": labels under "swarmctl." are set by swarmctl itself; settings are labels of the service`},

		{`{"Mode":{"Replicated":{"Replicas":0}}}`, ok, ``},
		{`{"Mode":{"Replicated":{"Replicas":18446744073709551615}}}`, invalid, `replicas: 18446744073709551615 is more than the 100000 that one service may have`},
		{`{"Mode":{"Replicated":{},"Global":{}}}`, invalid, `must specify only one service mode`},
		{`{"Mode":{"GlobalJob":{}}}`, ok, ``},
		{`{"Mode":{"ReplicatedJob":{}}}`, ok, ``},
		{`{"Mode":{"ReplicatedJob":{"MaxConcurrent":0,"TotalCompletions":0}}}`, ok, ``},
		{`{"Mode":{"ReplicatedJob":{},"GlobalJob":{}}}`, invalid, `must specify only one service mode`},
		{`{"Mode":{"ReplicatedJob":{"MaxConcurrent":18446744073709551615}}}`, invalid, `Maximum concurrent jobs must not be negative`},
		{`{"Mode":{"ReplicatedJob":{"TotalCompletions":18446744073709551615}}}`, invalid, `Total completed jobs must not be negative`},
		{`{"Mode":{"ReplicatedJob":{"TotalCompletions":100001}}}`, invalid, `total completions: 100001 is more than the 100000 that one job may have`},
		{`{"Mode":{"ReplicatedJob":{}},"TaskTemplate":{"RestartPolicy":{"Condition":"any"}}}`, ok, ``},
		{`{"Mode":{"ReplicatedJob":{}},"UpdateConfig":{}}`, invalid, `Jobs may not have an update config: a change of what its tasks run begins a job anew`},
		{`{"Mode":{"GlobalJob":{}},"RollbackConfig":{}}`, invalid, `Jobs may not have a rollback config: a rollback begins a job anew`},
		{`{"TaskTemplate":{"Runtime":"plugin"}}`, unsupported, `runtime "plugin" is not supported: services run containers`},
		{`{"TaskTemplate":{"ContainerSpec":null}}`, invalid, `mismatched Runtime and *Spec fields: the spec has no ContainerSpec, so there is nothing to run`},

		{`{"TaskTemplate":{"ContainerSpec":{"Image":""}}}`, invalid, `ContainerSpec: image reference must be provided`},
		{`{"TaskTemplate":{"ContainerSpec":{"Image":"A:!"}}}`, invalid, `ContainerSpec: "A:!" is not a valid repository/tag`},
		{`{"TaskTemplate":{"ContainerSpec":{"Env":["=x"]}}}`, invalid, `ContainerSpec: invalid environment variable: "=x" has no name`},
		{`{"TaskTemplate":{"ContainerSpec":{"Hostname":"{{.Service.Name}}-{{.Task.Slot}}-{{slice .Task.ID 0 12}}"}}}`, ok, ``},
		{`{"TaskTemplate":{"ContainerSpec":{"Env":["A={{.Nope}}"]}}}`, invalid, `env A: template "{{.Nope}}": template: expansion:1:2: executing "expansion" at <.Nope>: can't evaluate field Nope in type *expand.Facts`},
		{`{"TaskTemplate":{"ContainerSpec":{"StopGracePeriod":-1}}}`, invalid, `ContainerSpec: stop-grace-period cannot be negative`},
		{`{"TaskTemplate":{"ContainerSpec":{"Healthcheck":{"Interval":10}}}}`, invalid, `ContainerSpec: Interval in HealthConfig cannot be less than 1ms`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"data","Target":"/a"}]}}}`, invalid, `invalid mount of type bind at /a: source "data" must be an absolute path on the node`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Target":"/a"},{"Type":"tmpfs","Target":"/a/"}]}}}`, invalid, `ContainerSpec: duplicate mount point: /a/`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Target":"a"}]}}}`, invalid, `invalid mount target "a": it must be an absolute path in the container`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"tmpfs","Target":"/a","VolumeOptions":{}}]}}}`, invalid, `mount at /a: volume options are for mounts of type volume, not tmpfs`},
		{`{"TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretID":"1","SecretName":"s","File":{"Name":"s","UID":"0","GID":"0","Mode":292}},{"SecretID":"1","SecretName":"s","File":{"Name":"/s"}}],"Configs":[{"ConfigID":"2","ConfigName":"c","File":{"Name":"c","UID":"5"}}]}}}`, ok, ``},
		{`{"TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretName":"s"}]}}}`, invalid, `malformed secret reference`},
		{`{"TaskTemplate":{"ContainerSpec":{"Secrets":[null]}}}`, invalid, `malformed secret reference`},
		{`{"TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretID":"1","SecretName":"s"}]}}}`, invalid, `malformed secret reference, no target provided`},
		{`{"TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretID":"1","SecretName":"s","File":{}}]}}}`, invalid, `malformed file secret reference, invalid target file name provided`},
		{`{"TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretID":"1","SecretName":"s","File":{"Name":"a/.."}}]}}}`, invalid, `malformed file secret reference, invalid target file name provided`},
		{`{"TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretID":"1","SecretName":"s","File":{"Name":"a"}},{"SecretID":"2","SecretName":"t","File":{"Name":"a"}}]}}}`, invalid, `secret references 's' and 't' have a conflicting target: 'a'`},
		{`{"TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretID":"1","SecretName":"s","File":{"Name":"a"}},{"SecretID":"2","SecretName":"t","File":{"Name":"/run/secrets/./a"}}]}}}`, invalid, `ContainerSpec: duplicate mount point: /run/secrets/a: secret "s" and secret "t" cannot both be there`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"tmpfs","Target":"/c"}],"Configs":[{"ConfigID":"2","ConfigName":"c","File":{"Name":"c"}}]}}}`, invalid, `ContainerSpec: duplicate mount point: /c: a mount and config "c" cannot both be there`},
		{`{"TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretID":"1","SecretName":"s","File":{"Name":"a","UID":"root"}}]}}}`, invalid, `secret "s": uid "root": give it as a number: names are the container's own`},
		{`{"TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretID":"1","SecretName":"s","File":{"Name":"a","Mode":2336}}]}}}`, invalid, `secret "s": mode 04440: give permissions alone, as in 0440`},
		{`{"TaskTemplate":{"ContainerSpec":{"Configs":[{"ConfigName":"c"}]}}}`, invalid, `malformed config reference`},
		{`{"TaskTemplate":{"ContainerSpec":{"Configs":[{"ConfigID":"1","ConfigName":"c","Runtime":{}}]}}}`, unsupported, `config c: a target that is no file is for credential specs, which are for Windows: give it a file`},
		{`{"TaskTemplate":{"Networks":[{"Target":"n"},{"Target":"m"}]}}`, ok, ``},
		{`{"TaskTemplate":{"Networks":[{"Target":"n"},{"Target":"bridge"}]}}`, ok, ``},
		{`{"TaskTemplate":{"Networks":[{"Target":"n"},{"Target":"host"}]}}`, invalid, `network host: a task in it cannot be in another network too: leave one of them out`},
		{`{"TaskTemplate":{"Networks":[{"Target":"host"}]}}`, ok, ``},
		{`{"TaskTemplate":{"Networks":[{"Target":"none"}]}}`, ok, ``},
		{`{"TaskTemplate":{"Networks":[{"Target":"host"},{"Target":"bridge"}]}}`, invalid, `networks host and bridge: a task can be in one only of host, none and bridge`},
		{`{"TaskTemplate":{"Networks":[{"Target":"bridge","Aliases":["a"]}]}}`, invalid, `network bridge: aliases and driver options are for networks that span nodes`},
		{`{"Networks":[{"Target":"host"}]}`, ok, ``},
		{`{"Networks":[{"Target":"n"}],"TaskTemplate":{"Networks":[{"Target":"n"}]}}`, invalid, `network n: give all networks in TaskTemplate.Networks: the service's own Networks are deprecated`},
		{`{"TaskTemplate":{"Networks":[{"Target":"host"}]},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":80}]}}`, invalid, `port 80: a task in network host listens on its node's own ports: publish it with mode=host, or leave the port out`},
		{`{"TaskTemplate":{"Networks":[{"Target":"host"}]},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":80,"PublishMode":"host"}]}}`, ok, ``},
		{`{"TaskTemplate":{"Networks":[{"Target":"host"}]},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}}`, invalid, `port 80: a task in network host listens on the node's own ports, so it cannot be published as 8080: give the same number twice, or leave the port out`},
		{`{"TaskTemplate":{"Networks":[{"Target":"none"}]},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishMode":"host"}]}}`, invalid, `port 80: a task in network none cannot publish: leave the port or the network out`},

		{`{"TaskTemplate":{"ContainerSpec":{"Isolation":"hyperv"}}}`, invalid, `ContainerSpec: invalid isolation: "hyperv" - linux only supports 'default'`},
		{`{"TaskTemplate":{"ContainerSpec":{"Isolation":"Default"}}}`, ok, ``},
		{`{"TaskTemplate":{"ContainerSpec":{"OomScoreAdj":1001}}}`, invalid, `ContainerSpec: invalid value 1001, range for oom score adj is [-1000, 1000]`},
		{`{"TaskTemplate":{"ContainerSpec":{"Hosts":["nonsense"]}}}`, invalid, `ContainerSpec: invalid host entry "nonsense": give ADDRESS NAME [ALIAS...]`},
		{`{"TaskTemplate":{"ContainerSpec":{"Privileges":{"CredentialSpec":{"File":"x"}}}}}`, unsupported, `credential specs are for Windows, which swarmctl does not run on`},
		{`{"TaskTemplate":{"ContainerSpec":{"Privileges":{"Seccomp":{"Mode":"off"}}}}}`, invalid, `ContainerSpec: invalid seccomp mode "off": use default, unconfined or custom`},
		{`{"TaskTemplate":{"ContainerSpec":{"Privileges":{"Seccomp":{"Mode":"custom"}}}}}`, invalid, `ContainerSpec: a seccomp profile goes with mode custom, and mode custom with a profile`},
		{`{"TaskTemplate":{"ContainerSpec":{"Privileges":{"AppArmor":{"Mode":"off"}}}}}`, invalid, `ContainerSpec: invalid AppArmor mode "off": use default or disabled`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"image","Source":"a","Target":"/a"}]}}}`, invalid, `invalid MountType: "image" at /a: services have volumes, binds and tmpfs; put what is needed into the service's own image`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"npipe","Source":"a","Target":"/a"}]}}}`, unsupported, `mount of type npipe at /a: named pipes exist on Windows, which swarmctl does not run on`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"/a","Target":"/a","BindOptions":{"Propagation":"up"}}]}}}`, invalid, `invalid MountPropagation: "up" at /a: use rprivate, private, rshared, shared, rslave or slave`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Source":"a","Target":"/a","VolumeOptions":{"Subpath":"../b"}}]}}}`, invalid, `mount at /a: invalid volume-subpath "../b": it must be a relative path within the volume`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Source":"a","Target":"/a","Consistency":"some"}]}}}`, invalid, `mount at /a: invalid consistency "some": use default, consistent, cached or delegated`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Source":"a","Target":"/a","ImageOptions":{}}]}}}`, invalid, `mount at /a: image options are for mounts of type image, not volume`},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Source":"a","Target":"/a","ClusterOptions":{}}]}}}`, invalid, `mount at /a: cluster options are for mounts of type cluster, not volume`},

		{`{"TaskTemplate":{"Resources":{"Reservations":{"GenericResources":[{"DiscreteResourceSpec":{"Kind":"gpu","Value":2}}]}}}}`, ok, ``},
		{`{"TaskTemplate":{"Resources":{"Reservations":{"GenericResources":[{"NamedResourceSpec":{"Kind":"gpu","Value":"GPU-1"}}]}}}}`, invalid, `invalid argument for resource gpu: ask for a number of them, as in gpu=1, and not by name`},
		{`{"TaskTemplate":{"Resources":{"Reservations":{"GenericResources":[{"DiscreteResourceSpec":{"Kind":"gpu","Value":-1}}]}}}}`, invalid, `generic resource gpu: -1 of it cannot be reserved: give a number from 1`},
		{`{"TaskTemplate":{"Resources":{"Reservations":{"GenericResources":[{"DiscreteResourceSpec":{"Kind":"gpu","Value":1}},{"DiscreteResourceSpec":{"Kind":"GPU","Value":1}}]}}}}`, invalid, `generic resource GPU: it is given twice`},
		{`{"TaskTemplate":{"Resources":{"Reservations":{"GenericResources":[{"DiscreteResourceSpec":{"Kind":"a b","Value":1}}]}}}}`, invalid, `generic resource "a b": the name of a kind has no spaces, commas or equals signs`},
		{`{"TaskTemplate":{"Resources":{"Reservations":{"GenericResources":[{}]}}}}`, invalid, `generic resource: it has no kind: give KIND=NUMBER`},

		{`{"TaskTemplate":{"Resources":{"Limits":{"MemoryBytes":6291455}}}}`, invalid, `invalid memory value 6291455: Must be at least 6MiB: the memory limit is below the container engine's minimum`},
		{`{"TaskTemplate":{"Resources":{"Limits":{"MemoryBytes":6291456}}}}`, ok, ``},
		{`{"TaskTemplate":{"Resources":{"Reservations":{"NanoCPUs":-5}}}}`, invalid, `invalid cpu value -5e-09: Must be at least 0.001: so must the cpu reservation`},
		{`{"TaskTemplate":{"Resources":{"Limits":{"MemoryBytes":7000000},"Reservations":{"MemoryBytes":8000000}}}}`, invalid, `memory limit 7000000 must not be less than the memory reservation 8000000`},
		{`{"TaskTemplate":{"Resources":{"Limits":{"Pids":-1}}}}`, invalid, `pids limit: -1 cannot be negative: use 0 for no limit`},
		{`{"TaskTemplate":{"RestartPolicy":{"Condition":"often"}}}`, invalid, `invalid RestartCondition: "often": use none, on-failure or any`},
		{`{"TaskTemplate":{"RestartPolicy":{"Delay":-1}}}`, invalid, `TaskSpec: restart-delay cannot be negative`},
		{`{"UpdateConfig":{"FailureAction":"panic"}}`, invalid, `unrecognized update failure action panic: use pause, continue or rollback`},
		{`{"RollbackConfig":{"FailureAction":"rollback"}}`, invalid, `rollback-failure-action: "rollback" is for updates only: use pause or continue`},
		{`{"UpdateConfig":{"MaxFailureRatio":1.5}}`, invalid, `TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1`},
		{`{"UpdateConfig":{"Delay":-1}}`, invalid, `TaskSpec: update-delay cannot be negative`},
		{`{"UpdateConfig":{"Monitor":-1}}`, invalid, `TaskSpec: update-monitor cannot be negative`},
		{`{"RollbackConfig":{"Delay":-1}}`, invalid, `TaskSpec: rollback-delay cannot be negative`},
		{`{"RollbackConfig":{"Monitor":-1}}`, invalid, `TaskSpec: rollback-monitor cannot be negative`},
		{`{"TaskTemplate":{"Placement":{"Preferences":[{}]}}}`, invalid, `placement preference: a spread descriptor is needed, as in spread=node.labels.zone`},

		{`{"Labels":{"swarmctl.canary":"3","swarmctl.canary.promote-after":"10m"},"Mode":{"Replicated":{"Replicas":3}}}`, ok, ``},
		{`{"Labels":{"swarmctl.canary":"4"},"Mode":{"Replicated":{"Replicas":3}}}`, invalid, `label swarmctl.canary: 4 replicas of 3 in all: give at most 3, or a percentage as in 10%`},
		{`{"Labels":{"swarmctl.canary":"4"},"Mode":{"Replicated":{"Replicas":0}}}`, ok, ``},
		{`{"Labels":{"swarmctl.canary":"4"},"Mode":{"Global":{}}}`, ok, ``},
		{`{"Labels":{"swarmctl.canary":"0"}}`, invalid, `label swarmctl.canary: "0" is no part of the replicas: give their number, from 1, or a percentage as in 10%`},
		{`{"Labels":{"swarmctl.canary":"101%"}}`, invalid, `label swarmctl.canary: "101%" is more than all replicas: give a percentage from 1% to 100%`},
		{`{"Labels":{"swarmctl.canary":"1","swarmctl.canary.promote-after":"-1s"}}`, invalid, `label swarmctl.canary.promote-after: -1s is too short: the least is 0s`},
		{`{"Labels":{"swarmctl.canary.promote-after":"1m"}}`, invalid, `label swarmctl.canary.promote-after: there is no canary to promote: give swarmctl.canary as well, as in swarmctl.canary=1 or swarmctl.canary=10%`},
		{`{"Labels":{"swarmctl.canary":"1"},"Mode":{"ReplicatedJob":{}}}`, invalid, `label swarmctl.canary: a job has no updates: a change of what its tasks run begins it anew: leave the label out`},
		{`{"Labels":{"swarmctl.update.progress-deadline":"1m"},"Mode":{"GlobalJob":{}}}`, invalid, `label swarmctl.update.progress-deadline: a job has no updates: a change of what its tasks run begins it anew: leave the label out`},
		{`{"Labels":{"swarmctl.canary":"100%"},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}}`, invalid, `label swarmctl.canary: 100% runs both versions side by side, and two tasks of a node cannot hold host port 8080/tcp: give less than 100%, or publish the port in mode ingress`},
		{`{"Labels":{"swarmctl.canary":"99%"},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}}`, ok, ``},
		{`{"Labels":{"swarmctl.canary":"100%"},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080},{"TargetPort":81,"PublishMode":"host"}]}}`, ok, ``},
		{`{"Labels":{"swarmctl.canary":"100%","swarmctl.self-stop":"10s"}}`, invalid, `label swarmctl.canary: 100% runs both versions side by side, and with swarmctl.self-stop no task runs twice: give less than 100%, or leave one of the two out`},
		{`{"Labels":{"swarmctl.reschedule.after":"5m"},"Mode":{"ReplicatedJob":{}}}`, ok, ``},
		{`{"Labels":{"swarmctl.reschedule.after":"5m"},"Mode":{"Global":{}}}`, invalid, `label swarmctl.reschedule.after: each task of a global service belongs to its node, and no other node takes it over: leave the label out`},
		{`{"Labels":{"swarmctl.self-stop":"10s"},"Mode":{"GlobalJob":{}}}`, invalid, `label swarmctl.self-stop: each task of a global service belongs to its node, and no other node takes it over: leave the label out`},
		{`{"Labels":{"swarmctl.rebalance":"2m"},"Mode":{"Global":{}}}`, invalid, `label swarmctl.rebalance: each task of a global service belongs to its node, and no other node takes it over: leave the label out`},
		{`{"Labels":{"swarmctl.rebalance":"2m","swarmctl.self-stop":"10s"}}`, invalid, `label swarmctl.rebalance: with swarmctl.self-stop a task would have to stop before its successor starts, so none is moved for balance: leave one of the two out`},
		{`{"Labels":{"swarmctl.rebalance":"2m"},"Mode":{"ReplicatedJob":{}}}`, invalid, `label swarmctl.rebalance: the tasks of a job end by themselves, and are not moved before: leave the label out`},

		{`{"Labels":{"swarmctl.pod":"app"}}`, ok, ``},
		{`{"Labels":{"swarmctl.pod":"app"},"UpdateConfig":{"Parallelism":2},"TaskTemplate":{"Placement":{"Platforms":[{"OS":"linux"}]},"RestartPolicy":{"Condition":"none"}}}`, ok, ``},
		{`{"Labels":{"swarmctl.pod":""}}`, invalid, `label swarmctl.pod: "" is no name of a service: give the whole name of the one that the tasks are to run beside, of a stack STACK_SERVICE`},
		{`{"Labels":{"swarmctl.pod":"app"},"Mode":{"Global":{}}}`, invalid, `label swarmctl.pod: mode global: a sidecar has none of its own: its tasks follow those of service app: leave the mode out`},
		{`{"Labels":{"swarmctl.pod":"app"},"Mode":{"Replicated":{"Replicas":2}}}`, invalid, `label swarmctl.pod: a number of replicas: a sidecar has none of its own: it has a task for each of service app: scale that one`},
		{`{"Labels":{"swarmctl.pod":"app"},"TaskTemplate":{"Networks":[{"Target":"host"}]}}`, invalid, `label swarmctl.pod: network host: a sidecar has none of its own: it shares the network namespace of a task of service app: put that on the network`},
		{`{"Labels":{"swarmctl.pod":"app"},"EndpointSpec":{"Ports":[{"TargetPort":80}]}}`, invalid, `label swarmctl.pod: a published port: a sidecar has none of its own: it shares the ports of a task of service app: publish the port there`},
		{`{"Labels":{"swarmctl.pod":"app"},"TaskTemplate":{"Placement":{"Constraints":["node.role==worker"]}}}`, invalid, `label swarmctl.pod: a placement: a sidecar has none of its own: it is placed with service app: give that one the constraints`},
		{`{"Labels":{"swarmctl.pod":"app"},"TaskTemplate":{"ContainerSpec":{"Image":"a","Hostname":"h"}}}`, invalid, `label swarmctl.pod: a hostname: a sidecar has none of its own: it has those of a container of service app: give them to that one`},
		{`{"Labels":{"swarmctl.pod":"app"},"TaskTemplate":{"ContainerSpec":{"Image":"a","Hosts":["1.2.3.4 h"]}}}`, invalid, `label swarmctl.pod: host entries: a sidecar has none of its own: it has those of a container of service app: give them to that one`},
		{`{"Labels":{"swarmctl.pod":"app"},"TaskTemplate":{"ContainerSpec":{"Image":"a","DNSConfig":{"Nameservers":["1.2.3.4"]}}}}`, invalid, `label swarmctl.pod: DNS settings: a sidecar has none of its own: it has those of a container of service app: give them to that one`},
		{`{"Labels":{"swarmctl.pod":"app","swarmctl.canary":"1"}}`, invalid, `label swarmctl.pod: label swarmctl.canary: a sidecar has none of its own: its tasks come and go with those of service app: leave the label out, or give it to that one`},

		{`{"EndpointSpec":{"Mode":"anycast"}}`, invalid, `invalid resolution mode: "anycast": use vip or dnsrr`},
		{`{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080},{"TargetPort":81}]}}`, ok, ``},
		{`{"EndpointSpec":{"Mode":"dnsrr"}}`, ok, ``},
		{`{"EndpointSpec":{"Mode":"dnsrr","Ports":[{"TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}}`, ok, ``},
		{`{"EndpointSpec":{"Mode":"dnsrr","Ports":[{"TargetPort":80}]}}`, invalid, `EndpointSpec: port published with ingress mode can't be used with dnsrr mode`},
		{`{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":70000}]}}`, invalid, `invalid published port 70000: use 1 to 65535, or 0 for any`},
		{`{"EndpointSpec":{"Ports":[{"TargetPort":70000}]}}`, invalid, `invalid target port 70000: use 1 to 65535`},
		{`{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishMode":"anycast"}]}}`, invalid, `port 80: invalid publish mode "anycast": use ingress or host`},
		{`{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080},{"TargetPort":81,"PublishedPort":8080}]}}`, invalid, `EndpointSpec: duplicate published ports provided: 8080/tcp`},
		{`{"Labels":{"swarmctl.host-ip":"8080=127.0.0.1"},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080}]}}`, ok, ``},
		{`{"Labels":{"swarmctl.host-ip":"127.0.0.1"}}`, ok, ``},
		{`{"Labels":{"swarmctl.host-ip":"8080=127.0.0.1"}}`, invalid, `label swarmctl.host-ip: the service does not publish port 8080/tcp: publish it, or take it out of the label`},
		{`{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}}`, ok, ``},
		{`{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080,"PublishMode":"host"},{"TargetPort":81,"PublishedPort":8080,"PublishMode":"host"}]}}`, invalid, `EndpointSpec: duplicate published ports provided: 8080/tcp`},
		{`{"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":53,"PublishMode":"host"},{"TargetPort":81,"PublishedPort":53,"Protocol":"udp","PublishMode":"host"}]}}`, ok, ``},
		{`{"EndpointSpec":{"Ports":[{"PublishedPort":8080,"PublishMode":"host"}]}}`, invalid, `invalid target port 0: use 1 to 65535`},
	} {
		spec := &api.ServiceSpec{}
		for _, data := range []string{`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"demo:1"}}}`, tt.spec} {
			if err := json.Unmarshal([]byte(data), spec); err != nil {
				t.Fatalf("%s: %v", data, err)
			}
		}
		servicespec.Normalise(spec)
		err := servicespec.Validate(spec)
		switch {
		case tt.code == ok && err != nil:
			t.Errorf("%s: refused: %v", tt.spec, err)
		case tt.code != ok && (err == nil || err.Error() != tt.want || !errors.Is(err, &api.Error{Code: tt.code})):
			t.Errorf("%s:\n got %v\nwant %s", tt.spec, err, tt.want)
		}
	}
}

func TestAConstraintThatDoesNotParseIsRefused(t *testing.T) {
	spec := &api.ServiceSpec{}
	data := `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"demo:1"},"Placement":{"Constraints":["node.lable==x"]}}}`
	if err := json.Unmarshal([]byte(data), spec); err != nil {
		t.Fatal(err)
	}
	servicespec.Normalise(spec)
	if err := servicespec.Validate(spec); !errors.Is(err, api.ErrInvalid) {
		t.Errorf("got %v", err)
	} else {
		t.Log(err)
	}
}

// Filling in defaults must neither write through to what is stored nor change
// what is set.
func TestWithDefaultsLeavesTheSpecAlone(t *testing.T) {
	const data = `{"Name":"web","Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"demo:1","Isolation":"default"},` +
		`"RestartPolicy":{"Condition":"none"},"ForceUpdate":0,"Runtime":"container"},"Mode":{"Replicated":{"Replicas":5}},` +
		`"UpdateConfig":{"Parallelism":4,"MaxFailureRatio":0,"Order":"start-first"}}`
	spec := api.ServiceSpec{}
	if err := json.Unmarshal([]byte(data), &spec); err != nil {
		t.Fatal(err)
	}
	servicespec.Normalise(&spec)
	full := servicespec.WithDefaults(spec)
	if got, _ := json.Marshal(spec); string(got) != data {
		t.Errorf("the spec changed:\n got %s\nwant %s", got, data)
	}
	r, u := full.TaskTemplate.RestartPolicy, full.UpdateConfig
	if r.Condition != "none" || r.Delay.Seconds() != 5 || u.Parallelism != 4 || u.Order != "start-first" || u.FailureAction != "pause" {
		t.Errorf("defaults: restart %+v, update %+v", r, u)
	}
}

func TestNetworksAreResolvedToTheirIDs(t *testing.T) {
	known := map[string]*api.Network{}
	for id, name := range map[string]string{"n1": "back", "n2": "front", "n3": "ingress"} {
		n := &api.Network{ID: api.NetworkID(id), Spec: api.NetworkSpec{Ingress: name == "ingress"}}
		n.Spec.Name = name
		known[id], known[name] = n, n
	}
	find := func(ref string) (*api.Network, error) {
		if n := known[ref]; n != nil {
			return n, nil
		}
		return nil, api.Errorf(api.CodeNotFound, "network %s not found", ref)
	}
	for _, tt := range []struct{ networks, want, err string }{
		{`[{"Target":"back"},{"Target":"n2","Aliases":["www","db.internal","_a"]}]`, `[{"Target":"n1"},{"Target":"n2","Aliases":["www","db.internal","_a"]}]`, ``},
		{`[{"Target":"host"}]`, `[{"Target":"host"}]`, ``},
		{`[{"Target":"none such"}]`, ``, `network none such not found`},
		{`[{"Target":"ingress"}]`, ``, `Service cannot be explicitly attached to the ingress network "ingress": it is on it by publishing a port in ingress mode`},
		{`[{"Target":"back"},{"Target":"n1"}]`, ``, `network back is given twice: give it once, with all of its aliases`},
		{`[{"Target":"back","DriverOpts":{"b":"","a":""}}]`, ``, `network back: driver options of a service's place in it are not supported: leave out a, b`},
		{`[{"Target":"back","Aliases":["w w"]}]`, ``, `network back: alias "w w" is no name: use letters, digits, - and _, at most 63 of them between dots and 253 in all`},
		{`[{"Target":"back","Aliases":[""]}]`, ``, `network back: alias "" is no name: use letters, digits, - and _, at most 63 of them between dots and 253 in all`},
		{`[{"Target":"back","Aliases":["10.0.0.1"]}]`, ``, `network back: alias "10.0.0.1" is no name: it reads as an address, which nobody looks up`},
		{`[{"Target":"back","Aliases":["tasks.web"]}]`, ``, `network back: alias "tasks.web": names that begin with "tasks." stand for the tasks of a service`},
	} {
		spec := &api.ServiceSpec{}
		if err := json.Unmarshal([]byte(tt.networks), &spec.TaskTemplate.Networks); err != nil {
			t.Fatal(err)
		}
		given := slices.Clone(spec.TaskTemplate.Networks)
		list := spec.TaskTemplate.Networks
		err := servicespec.ResolveNetworks(spec, find)
		switch {
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%s:\n got %v\nwant %s", tt.networks, err, tt.err)
		case tt.err == "" && err != nil:
			t.Errorf("%s: %v", tt.networks, err)
		case tt.err == "":
			if got, _ := json.Marshal(spec.TaskTemplate.Networks); string(got) != tt.want {
				t.Errorf("%s: %s, want %s", tt.networks, got, tt.want)
			}
		}
		if !reflect.DeepEqual(list, given) {
			t.Errorf("%s: the list that was given has become %v", tt.networks, list)
		}
	}
}
