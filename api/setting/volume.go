package setting

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/mount"

	"github.com/swarmctl/swarmctl/api"
)

// LabelVolumePin says of a service, or of a volume of the driver local, whether
// tasks stay with the node that has the data: true, the default, or false.
const LabelVolumePin = Prefix + "volume.pin"

// sharedFS are the file systems that hold the same on every node that mounts
// them, beside networkFS; or nothing that outlives its use.
var sharedFS = []string{"nfs3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "beegfs", "afs", "gfs2", "ocfs2"}

// PinsMount reports whether a task with this mount must go where the data is: a
// named volume whose data lies on one node, unless the volume's label lets it go.
func PinsMount(m *mount.Mount) bool {
	if m.Type != mount.TypeVolume || m.Source == "" {
		return false
	}
	o := m.VolumeOptions
	if o == nil {
		return true
	}
	if o.DriverConfig == nil {
		return pinned(o.Labels)
	}
	return PinsVolume(o.DriverConfig.Name, o.DriverConfig.Options, o.Labels)
}

// PinsVolume is PinsMount for a volume that there is.
func PinsVolume(driver string, options, labels map[string]string) bool {
	if driver != "" && driver != "local" || !pinned(labels) {
		return false
	}
	fs := options["type"]
	return !slices.Contains(networkFS, fs) && !slices.Contains(sharedFS, fs) && !strings.HasPrefix(fs, "fuse.")
}

func pinned(labels map[string]string) bool { return labels[LabelVolumePin] != "false" }

// CheckVolumeLabels reads the labels of a volume, as strictly as Parse those of a service.
func CheckVolumeLabels(labels map[string]string) error {
	for _, name := range ours(labels) {
		if name != LabelVolumePin {
			return api.Errorf(api.CodeInvalid, "volume label %q: this version of swarmctl knows no such label: it knows %s; other labels must not begin with %q", name, LabelVolumePin, Prefix)
		}
		if _, err := parseBool(labels[name]); err != nil {
			return api.Errorf(api.CodeInvalid, "volume label %s: %v", name, err)
		}
	}
	return nil
}

// stackLabel is what Docker's tools name the stack of an object by.
const stackLabel = "com.docker.stack.namespace"

// VolumeDiffers says what a mount asks of its volume that the volume of that name
// is not; empty where it is what is asked. A mount that names neither a driver
// nor options takes any volume, but a stack's own, whose file has no options, must
// have none.
func VolumeDiffers(m *mount.Mount, v *api.Volume) string {
	o := m.VolumeOptions
	if m.Type != mount.TypeVolume || m.Source == "" || o == nil {
		return ""
	}
	want := mount.Driver{}
	if o.DriverConfig != nil {
		want = *o.DriverConfig
	}
	own := o.Labels[stackLabel] != "" && o.Labels[stackLabel] == v.Labels[stackLabel]
	sameDriver := strings.TrimSuffix(cmp.Or(want.Name, "local"), ":latest") == strings.TrimSuffix(cmp.Or(v.Driver, "local"), ":latest")
	if !own && want.Name == "" && len(want.Options) == 0 || sameDriver && (!own && len(want.Options) == 0 || maps.Equal(want.Options, v.Options)) {
		return ""
	}
	has, asked := api.ShowOptions(v.Driver, v.Options), api.ShowOptions(want.Name, want.Options)
	if has == asked {
		asked = "what is secret in it changed"
	}
	return "it has " + has + ", and the service asks for " + asked
}
