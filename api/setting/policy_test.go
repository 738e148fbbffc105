package setting_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

func spec(t *testing.T, data string) *api.ServiceSpec {
	t.Helper()
	s := &api.ServiceSpec{}
	if err := json.Unmarshal([]byte(data), s); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	s.Name = "web"
	return s
}

func volume(options string) string {
	return `{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Source":"v","Target":"/v","VolumeOptions":{"DriverConfig":{"Options":` + options + `}}}]}}}`
}

// Each spec uses what is denied to it, and nothing else that could be denied.
func TestWhatAPolicyDenies(t *testing.T) {
	for _, tt := range []struct{ spec, denies string }{
		{`{"Labels":{"swarmctl.privileged":"true"}}`, "privileged"},
		{`{"Labels":{"swarmctl.privileged":"false"}}`, ""},
		{`{"Labels":{"swarmctl.devices":"/dev/fuse"}}`, "device"},
		{`{"Labels":{"swarmctl.gpus":"all"}}`, "gpus"},
		{`{"Labels":{"swarmctl.pid":"host"}}`, "host-pid"},
		{`{"Labels":{"swarmctl.ipc":"host"}}`, "host-ipc"},
		{`{"Labels":{"swarmctl.ipc":"private","swarmctl.shm-size":"1m"}}`, ""},
		{`{"TaskTemplate":{"Networks":[{"Target":"host"}]}}`, "host-network"},
		{`{"Networks":[{"Target":"host"}]}`, "host-network"},
		{`{"TaskTemplate":{"Networks":[{"Target":"bridge"}]}}`, ""},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"/","Target":"/host"}]}}}`, "bind-mount"},
		{`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Source":"v","Target":"/v"},{"Type":"tmpfs","Target":"/t"}]}}}`, ""},
		{volume(`{"type":"none","o":"bind","device":"/"}`), "bind-mount"},
		{volume(`{"type":"nfs","o":"addr=1.2.3.4,rbind","device":"/"}`), "bind-mount"},
		{volume(`{"type":"overlay","o":"lowerdir=/,upperdir=/u,workdir=/w","device":"overlay"}`), "bind-mount"},
		{volume(`{"type":"ext4","device":"/dev/sda1"}`), "device"},
		{volume(`{"type":"nfs","o":"addr=1.2.3.4,rw","device":":/export"}`), ""},
		{volume(`{"type":"tmpfs","o":"size=1m","device":"tmpfs"}`), ""},
		{volume(`{"type":"nfs","o":"{{join \"\" \"bi\" \"nd\"}}","device":"/"}`), "bind-mount device"},
		{`{"TaskTemplate":{"ContainerSpec":{"CapabilityAdd":["CAP_SYS_ADMIN"]}}}`, "cap-add"},
		{`{"TaskTemplate":{"ContainerSpec":{"CapabilityDrop":["ALL"]}}}`, ""},
		{`{"TaskTemplate":{"ContainerSpec":{"Privileges":{"Seccomp":{"Mode":"unconfined"}}}}}`, "unconfined"},
		{`{"TaskTemplate":{"ContainerSpec":{"Privileges":{"AppArmor":{"Mode":"disabled"}}}}}`, "unconfined"},
		{`{"TaskTemplate":{"ContainerSpec":{"Privileges":{"SELinuxContext":{"Disable":true}}}}}`, "unconfined"},
		{`{"TaskTemplate":{"ContainerSpec":{"Privileges":{"NoNewPrivileges":true,"Seccomp":{"Mode":"default"}}}}}`, ""},
	} {
		var denies []string
		for _, d := range setting.Denials {
			if err := (setting.Policy{d}).Check(nil, spec(t, tt.spec)); err != nil {
				denies = append(denies, d)
				if !errors.Is(err, api.ErrForbidden) || !strings.Contains(err.Error(), "the cluster's policy denies "+d+" (label swarmctl.policy.deny)") {
					t.Errorf("%s: %v", tt.spec, err)
				}
			}
		}
		got := strings.Fields(tt.denies)
		slices.Sort(got)
		slices.Sort(denies)
		if strings.Join(got, " ") != strings.Join(denies, " ") {
			t.Errorf("%s: denied by %v, want %s", tt.spec, denies, tt.denies)
		}
	}
}

func TestWhatWasThereBeforeThePolicyStays(t *testing.T) {
	p := setting.Policy{setting.DenyBindMount, setting.DenyCapAdd, setting.DenyPrivileged}
	old := spec(t, `{"TaskTemplate":{"ContainerSpec":{"CapabilityAdd":["NET_ADMIN"],"Mounts":[{"Type":"bind","Source":"/a","Target":"/a"}]}}}`)
	for _, tt := range []struct{ name, spec, err string }{
		{"scaled", `{"Mode":{"Replicated":{"Replicas":3}},"TaskTemplate":{"ContainerSpec":{"CapabilityAdd":["CAP_NET_ADMIN"],"Mounts":[{"Type":"bind","Source":"/a","Target":"/a"}]}}}`, ""},
		{"for the better", `{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"/a","Target":"/a"}]}}}`, ""},
		{"another bind", `{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"/b","Target":"/a"}]}}}`,
			`service "web": bind of /b at /a: the cluster's policy denies bind-mount (label swarmctl.policy.deny): leave it out, or allow it for all services: "swarmctl update --policy-deny" with the list without it`},
		{"privileged", `{"Labels":{"swarmctl.privileged":"true"}}`,
			`service "web": swarmctl.privileged=true: the cluster's policy denies privileged (label swarmctl.policy.deny): leave it out, or allow it for all services: "swarmctl update --policy-deny" with the list without it`},
	} {
		err := p.Check(old, spec(t, tt.spec))
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
			t.Errorf("%s:\n got %v\nwant %s", tt.name, err, tt.err)
		}
	}
	if err := (setting.Policy)(nil).Check(nil, spec(t, `{"Labels":{"swarmctl.privileged":"true"}}`)); err != nil {
		t.Errorf("without a policy: %v", err)
	}
}

func TestParsePolicy(t *testing.T) {
	for _, tt := range []struct {
		labels map[string]string
		want   setting.Policy
		err    string
	}{
		{labels: map[string]string{"a": "b"}},
		{labels: map[string]string{setting.LabelDeny: "privileged, host-pid,privileged"}, want: setting.Policy{"privileged", "host-pid"}},
		{labels: map[string]string{setting.LabelDeny: "root"}, err: `cluster label swarmctl.policy.deny: "root" cannot be denied: use some of privileged,device,gpus,host-pid,host-ipc,host-network,bind-mount,cap-add,unconfined`},
		{labels: map[string]string{setting.LabelDeny: ""}, err: `cluster label swarmctl.policy.deny: "" cannot be denied: use some of privileged,device,gpus,host-pid,host-ipc,host-network,bind-mount,cap-add,unconfined`},
		{labels: map[string]string{"swarmctl.policy.allow": "x"}, err: `cluster label "swarmctl.policy.allow": this version of swarmctl knows no such label: it knows swarmctl.policy.deny, swarmctl.strategy; other labels must not begin with "swarmctl."`},
	} {
		got, err := setting.ParsePolicy(tt.labels)
		if tt.err == "" && (err != nil || !reflect.DeepEqual(got, tt.want)) || tt.err != "" && (err == nil || err.Error() != tt.err) {
			t.Errorf("%v: %v, %v", tt.labels, got, err)
		}
	}
}
