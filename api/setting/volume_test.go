package setting

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/mount"

	"github.com/swarmctl/swarmctl/api"
)

func TestWhichVolumesHoldTasks(t *testing.T) {
	with := func(driver string, options ...string) *mount.VolumeOptions {
		o := &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: driver, Options: map[string]string{}}}
		for _, option := range options {
			k, v, _ := strings.Cut(option, "=")
			o.DriverConfig.Options[k] = v
		}
		return o
	}
	for _, c := range []struct {
		name string
		m    mount.Mount
		want bool
	}{
		{"named", mount.Mount{Type: mount.TypeVolume, Source: "db"}, true},
		{"anonymous", mount.Mount{Type: mount.TypeVolume}, false},
		{"bind", mount.Mount{Type: mount.TypeBind, Source: "/db"}, false},
		{"local", mount.Mount{Type: mount.TypeVolume, Source: "db", VolumeOptions: with("local")}, true},
		{"bind in disguise", mount.Mount{Type: mount.TypeVolume, Source: "db", VolumeOptions: with("local", "type=none", "o=bind", "device=/data")}, true},
		{"a disk", mount.Mount{Type: mount.TypeVolume, Source: "db", VolumeOptions: with("", "type=ext4", "device=/dev/sdb")}, true},
		{"nfs", mount.Mount{Type: mount.TypeVolume, Source: "db", VolumeOptions: with("local", "type=nfs4")}, false},
		{"cifs", mount.Mount{Type: mount.TypeVolume, Source: "db", VolumeOptions: with("", "type=cifs")}, false},
		{"fuse", mount.Mount{Type: mount.TypeVolume, Source: "db", VolumeOptions: with("", "type=fuse.sshfs")}, false},
		{"tmpfs", mount.Mount{Type: mount.TypeVolume, Source: "db", VolumeOptions: with("", "type=tmpfs")}, false},
		{"a plugin", mount.Mount{Type: mount.TypeVolume, Source: "db", VolumeOptions: with("rexray")}, false},
		{"let go", mount.Mount{Type: mount.TypeVolume, Source: "db", VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{LabelVolumePin: "false"}}}, false},
		{"held", mount.Mount{Type: mount.TypeVolume, Source: "db", VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{LabelVolumePin: "true"}}}, true},
	} {
		if got := PinsMount(&c.m); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestLabelsOfVolumesAreReadStrictly(t *testing.T) {
	for labels, want := range map[string]string{
		"a=b": "", LabelVolumePin + "=false": "", LabelVolumePin + "=true": "",
		LabelVolumePin + "=no":    `volume label swarmctl.volume.pin: "no" is not a value of it: use true, false`,
		"swarmctl.volume.pn=true": `volume label "swarmctl.volume.pn": this version of swarmctl knows no such label: it knows swarmctl.volume.pin; other labels must not begin with "swarmctl."`,
	} {
		name, value, _ := strings.Cut(labels, "=")
		got := ""
		if err := CheckVolumeLabels(map[string]string{name: value}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", labels, got, want)
		}
	}
	if _, err := ParseLifecycle(map[string]string{LabelVolumePin: "perhaps"}); err == nil {
		t.Error("a service's label of no meaning was taken")
	}
	if l, err := ParseLifecycle(map[string]string{LabelVolumePin: "false"}); err != nil || !l.Unpinned {
		t.Errorf("got %+v, %v", l, err)
	}
}

func TestAStacksOwnVolumeMustNotKeepOptionsThatItsFileHasNoMore(t *testing.T) {
	labels := map[string]string{stackLabel: "shop"}
	m := &mount.Mount{Type: mount.TypeVolume, Source: "shop_db", VolumeOptions: &mount.VolumeOptions{Labels: labels}}
	nfs := map[string]string{"type": "nfs"}
	if got := VolumeDiffers(m, &api.Volume{Driver: "local", Options: nfs, Labels: labels}); got != "it has driver local with type=nfs, and the service asks for driver local without options" {
		t.Errorf("got %q", got)
	}
	for name, v := range map[string]*api.Volume{"the same": {Driver: "local", Labels: labels}, "somebody else's": {Driver: "local", Options: nfs}} {
		if got := VolumeDiffers(m, v); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	plugin := &mount.Mount{Type: mount.TypeVolume, Source: "x", VolumeOptions: &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: "rexray"}}}
	if VolumeDiffers(plugin, &api.Volume{Driver: "rexray:latest"}) != "" || VolumeDiffers(plugin, &api.Volume{Driver: "local"}) == "" {
		t.Error("drivers are told apart by their tags, or not at all")
	}
}
