package wire

import (
	"unicode/utf8"

	"github.com/swarmctl/swarmctl/api"
)

const (
	// MaxVolumes is how many volumes of a node the cluster knows: the first ones
	// by name. Every change says all of them again.
	MaxVolumes = 1000
	// maxVolumeName and maxVolumeText bound one of them, in bytes.
	maxVolumeName, maxVolumeText = 255, 1024
)

// EncodeVolumes makes the message for a node's volumes, which are in the order of
// their names. Labels and options that are too much are left out.
func EncodeVolumes(list []api.Volume) *Volumes {
	m := &Volumes{}
	for i := range list {
		v := &list[i]
		if len(m.List) == MaxVolumes {
			break
		}
		out := &Volume{Name: v.Name, Driver: v.Driver, CreatedAt: v.CreatedAt}
		out.Options = v.Options
		if fs := v.Options["type"]; sizeOf(v.Options) > maxVolumeText {
			out.Options = map[string]string{"type": fs[:min(len(fs), maxVolumeName)]} // whose data it is goes by it
		}
		if sizeOf(out.Options)+sizeOf(v.Labels) <= maxVolumeText {
			out.Labels = v.Labels
		}
		if fits(out) {
			m.List = append(m.List, out)
		}
	}
	return m
}

// DecodeVolumes is the inverse of EncodeVolumes. What a node may not say of its
// volumes is left out.
func DecodeVolumes(m *Volumes) []api.Volume {
	list := []api.Volume{}
	for _, v := range m.GetList() {
		if len(list) < MaxVolumes && fits(v) {
			list = append(list, api.Volume{Name: v.GetName(), Driver: v.GetDriver(), Options: api.MaskOptions(v.GetOptions()), Labels: v.GetLabels(), CreatedAt: v.GetCreatedAt()})
		}
	}
	return list
}

func fits(v *Volume) bool {
	return v.GetName() != "" && len(v.GetName()) <= maxVolumeName && len(v.GetDriver()) <= maxVolumeName && len(v.GetCreatedAt()) <= maxVolumeName &&
		utf8.ValidString(v.GetName()) && sizeOf(v.GetOptions())+sizeOf(v.GetLabels()) <= maxVolumeText
}

func sizeOf(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}
