package setting_test

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

func dev(host, container, permissions string) setting.Device {
	return setting.Device{Host: host, Container: container, Permissions: permissions}
}

var ip = netip.MustParseAddr

func TestParse(t *testing.T) {
	all := func(count int, capabilities ...string) *setting.GPUs {
		return &setting.GPUs{Count: count, Capabilities: capabilities}
	}
	for _, tt := range []struct {
		labels string // name=value, with spaces between them and without the prefix
		want   setting.Task
		err    string
	}{
		{labels: "", want: setting.Task{}},
		{labels: "privileged=true", want: setting.Task{Privileged: true}},
		{labels: "privileged=false", want: setting.Task{}},
		{labels: "privileged=yes", err: `label swarmctl.privileged: "yes" is not a value of it: use true, false`},
		{labels: "privileged=", err: `label swarmctl.privileged: "" is not a value of it: use true, false`},
		{labels: "pid=host ipc=shareable shm-size=64m", want: setting.Task{PID: "host", IPC: "shareable", ShmSize: 64 << 20}},
		{labels: "pid=container:x", err: `label swarmctl.pid: "container:x" is not a value of it: use host`},
		{labels: "ipc=container:x", err: `label swarmctl.ipc: "container:x" is not a value of it: use none, private, shareable, host`},
		{labels: "shm-size=0", err: `label swarmctl.shm-size: "0" is not a size: give bytes, or a number with a unit as in 256m`},
		{labels: "shm-size=-1", err: `label swarmctl.shm-size: "-1" is not a size: give bytes, or a number with a unit as in 256m`},
		{labels: "shm-size=1m ipc=host", err: `label swarmctl.shm-size: with swarmctl.ipc=host the container has no /dev/shm of its own: leave one of the two out`},
		{labels: "self-stop=10s canary=10%", want: setting.Task{SelfStop: 10 * time.Second}},
		{labels: "self-stop=4s", err: `label swarmctl.self-stop: 4s is too short: the least is 5s`},
		{labels: "devices=/dev/fuse", want: setting.Task{Devices: []setting.Device{dev("/dev/fuse", "/dev/fuse", "rwm")}}},
		{labels: "devices=/dev/a:/dev/b,/dev/c:r,/dev/d:/dev/e:mw", want: setting.Task{Devices: []setting.Device{
			dev("/dev/a", "/dev/b", "rwm"), dev("/dev/c", "/dev/c", "r"), dev("/dev/d", "/dev/e", "mw"),
		}}},
		{labels: "devices=", err: `label swarmctl.devices: device "": give the absolute path of a device on the node, as in /dev/fuse`},
		{labels: "devices=fuse", err: `label swarmctl.devices: device "fuse": give the absolute path of a device on the node, as in /dev/fuse`},
		{labels: "devices=/dev/a:b", err: `label swarmctl.devices: device "/dev/a:b": "b" must be an absolute path in the container`},
		{labels: "devices=/dev/a:/dev/a:rr", err: `label swarmctl.devices: device "/dev/a:/dev/a:rr": invalid permissions "rr": use some of r, w and m`},
		{labels: "devices=/dev/a:/b:r:w", err: `label swarmctl.devices: device "/dev/a:/b:r:w": give HOST[:CONTAINER[:PERMISSIONS]]`},
		{labels: "devices=/dev/a:/dev/x,/dev/b:/dev/x/", err: `label swarmctl.devices: device "/dev/b:/dev/x/": there is another one at /dev/x in the container`},
		{labels: "host-ip=127.0.0.1", want: setting.Task{HostIPs: setting.HostIPs{{}: ip("127.0.0.1")}}},
		{labels: "host-ip=8080=127.0.0.1,53/udp=::1", want: setting.Task{HostIPs: setting.HostIPs{{8080, "tcp"}: ip("127.0.0.1"), {53, "udp"}: ip("::1")}}},
		{labels: "host-ip=", err: `label swarmctl.host-ip: "" is no IP address: give one that the nodes have, as in 127.0.0.1`},
		{labels: "host-ip=here", err: `label swarmctl.host-ip: "here" is no IP address: give one that the nodes have, as in 127.0.0.1`},
		{labels: "host-ip=0.0.0.0", err: `label swarmctl.host-ip: 0.0.0.0 is not the address of a node: leave it out to publish on all of them`},
		{labels: "host-ip=70000=127.0.0.1", err: `label swarmctl.host-ip: port "70000": give a published port from 1 to 65535, as in 8080/tcp=127.0.0.1`},
		{labels: "host-ip=80/icmp=127.0.0.1", err: `label swarmctl.host-ip: port "80/icmp": invalid protocol "icmp": use tcp, udp or sctp`},
		{labels: "host-ip=80=127.0.0.1,80/tcp=::1", err: `label swarmctl.host-ip: "80/tcp=::1": that port is given twice: it can be bound to one address only`},
		{labels: "gpus=all", want: setting.Task{GPUs: all(setting.AllGPUs, "gpu")}},
		{labels: "gpus=2", want: setting.Task{GPUs: all(2, "gpu")}},
		{labels: `gpus="device=0,GPU-7"`, want: setting.Task{GPUs: &setting.GPUs{IDs: []string{"0", "GPU-7"}, Capabilities: []string{"gpu"}}}},
		{labels: `gpus=driver=nvidia,"capabilities=compute,utility","options=a=b,c="`, want: setting.Task{GPUs: &setting.GPUs{
			Driver: "nvidia", Count: 1, Capabilities: []string{"compute", "utility", "gpu"}, Options: map[string]string{"a": "b", "c": ""},
		}}},
		{labels: "gpus=0", err: `label swarmctl.gpus: count "0": give all, or a number from 1`},
		{labels: "gpus=", err: `label swarmctl.gpus: "": give all, a number, or fields as in "device=0,2",capabilities=compute`},
		{labels: "gpus=device=", err: `label swarmctl.gpus: device has no value`},
		{labels: "gpus=1,device=0", err: `label swarmctl.gpus: "1,device=0": give a count or devices, not both`},
		{labels: "gpus=1,count=2", err: `label swarmctl.gpus: "1,count=2": count is given twice`},
		{labels: "gpus=size=1", err: `label swarmctl.gpus: unknown field "size": use count, device, driver, capabilities or options`},
		{labels: "gpus=options=a", err: `label swarmctl.gpus: option "a": give name=value`},
	} {
		labels := map[string]string{"tier": "front", "swarmctl": "not ours"}
		for pair := range strings.FieldsSeq(tt.labels) {
			k, v, _ := strings.Cut(pair, "=")
			labels[setting.Prefix+k] = v
		}
		got, err := setting.Parse(labels)
		switch {
		case tt.err == "" && (err != nil || !reflect.DeepEqual(got, tt.want)):
			t.Errorf("%s: %+v, %v, want %+v", tt.labels, got, err, tt.want)
		case tt.err != "" && (err == nil || err.Error() != tt.err || !errors.Is(err, api.ErrInvalid)):
			t.Errorf("%s:\n got %v\nwant %s", tt.labels, err, tt.err)
		}
	}
}

func TestALabelOfOursThatIsUnknownIsRefused(t *testing.T) {
	_, err := setting.Parse(map[string]string{"swarmctl.priviledged": "true"})
	const want = `label "swarmctl.priviledged": this version of swarmctl knows no such label: it knows swarmctl.canary, swarmctl.canary.promote-after, swarmctl.depends-on, swarmctl.devices, swarmctl.gpus, swarmctl.host-ip, swarmctl.ipc, swarmctl.pid, swarmctl.pod, swarmctl.privileged, swarmctl.rebalance, swarmctl.reschedule.after, swarmctl.self-stop, swarmctl.shm-size, swarmctl.stopped, swarmctl.strategy, swarmctl.update.progress-deadline, swarmctl.volume.pin; other labels must not begin with "swarmctl."`
	if err == nil || err.Error() != want || !errors.Is(err, api.ErrInvalid) {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if _, again := setting.ParseLifecycle(map[string]string{"swarmctl.priviledged": "true"}); again == nil || again.Error() != want {
		t.Errorf("got %v\nwant %s", again, want)
	}
}

func TestOnlyOurLabelsMakeContainers(t *testing.T) {
	got := setting.OfTask(map[string]string{"a": "b", setting.LabelPID: "host", setting.LabelDeny: "device", setting.LabelCanary: "1"})
	if want := map[string]string{setting.LabelPID: "host"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := setting.OfTask(map[string]string{"a": "b"}); got != nil {
		t.Errorf("got %v, want none", got)
	}
}

// What a device says of itself is read back as the same device.
func FuzzDevices(f *testing.F) {
	for _, s := range []string{"/dev/a", "/dev/a:/dev/b:r", "/dev/a:rw,/b", "::", "/:/:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := setting.ParseDevices(s)
		if err != nil {
			return
		}
		for _, d := range list {
			if again, err := setting.ParseDevices(d.String()); err != nil || len(again) != 1 || again[0] != d {
				t.Errorf("%q: %+v comes back as %+v, %v", s, d, again, err)
			}
		}
	})
}

func FuzzGPUs(f *testing.F) {
	for _, s := range []string{"all", "3", `"device=0,1"`, "driver=x,count=2", `"options=a=b"`, `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if g, err := setting.ParseGPUs(s); err == nil && (g.Count == 0) == (len(g.IDs) == 0) {
			t.Errorf("%q: %+v asks for nothing, or in two ways", s, g)
		}
	})
}

func TestAPortIsBoundToOneAddressOrToAll(t *testing.T) {
	ips := setting.HostIPsOf(map[string]string{setting.LabelHostIP: "8080=127.0.0.1, 53/udp=fd00::1"})
	for _, tt := range []struct {
		port swarm.PortConfig
		want netip.Addr
	}{
		{swarm.PortConfig{PublishedPort: 8080, Protocol: "tcp"}, ip("127.0.0.1")},
		{swarm.PortConfig{PublishedPort: 8080, Protocol: "udp"}, netip.Addr{}},
		{swarm.PortConfig{PublishedPort: 53, Protocol: "udp"}, ip("fd00::1")},
	} {
		if got := ips.Of(tt.port); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.port, got, tt.want)
		}
	}
	every := setting.HostIPsOf(map[string]string{setting.LabelHostIP: "10.0.0.7"})
	if got := every.Of(swarm.PortConfig{PublishedPort: 1, Protocol: "sctp"}); got != ip("10.0.0.7") {
		t.Errorf("an address for all ports: %s", got)
	}
	if got := setting.HostIPsOf(nil).Of(swarm.PortConfig{PublishedPort: 1}); got.IsValid() {
		t.Errorf("without the label: %s", got)
	}
}

// What the addresses say of themselves is read back as the same addresses.
func FuzzHostIPs(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "80=::1,80/udp=10.0.0.1", "80=10.0.0.1,10.0.0.2", "=,", "[::1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ips, err := setting.ParseHostIPs(s)
		if err != nil {
			return
		}
		if again, err := setting.ParseHostIPs(ips.String()); err != nil || !reflect.DeepEqual(again, ips) {
			t.Errorf("%q: %v comes back as %v, %v", s, ips, again, err)
		}
	})
}
