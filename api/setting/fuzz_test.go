package setting_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// The value of every label of ours is read or refused, and what is read is
// what the engine can be told.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"true", "/dev/fuse:/dev/x:rw,/dev/snd", "/dev/a:rr", ":", "all", `"device=0,2",capabilities=compute`, "count=-1", "driver=,options=a=b", "host", "shareable",
		"256m", "9223372036854775807", "privileged,device", "8080/tcp=127.0.0.1,53/udp=::1", "", "3", "10%", "101%", "-1s", "10m", "binpack", "db:healthy,cache",
	} {
		f.Add(s)
	}
	labels := []string{setting.LabelPrivileged, setting.LabelDevices, setting.LabelGPUs, setting.LabelPID, setting.LabelIPC, setting.LabelShmSize, setting.LabelHostIP, setting.LabelSelfStop, setting.Prefix + "novel"}
	f.Fuzz(func(t *testing.T, value string) {
		readsLifecycle(t, value)
		for _, label := range labels {
			got, err := setting.Parse(map[string]string{label: value, "other": value})
			if err != nil {
				if !errors.Is(err, api.ErrInvalid) || !strings.Contains(err.Error(), label) {
					t.Errorf("%s=%q: %v", label, value, err)
				}
				continue
			}
			if got.ShmSize < 0 || got.GPUs != nil && (got.GPUs.Count < setting.AllGPUs || got.GPUs.Count == 0 && len(got.GPUs.IDs) == 0) {
				t.Errorf("%s=%q: %+v", label, value, got)
			}
			var devices []string
			for _, d := range got.Devices {
				devices = append(devices, d.String())
			}
			if again, err := setting.ParseDevices(strings.Join(devices, ",")); devices != nil && (err != nil || !reflect.DeepEqual(got.Devices, again)) {
				t.Errorf("%s=%q: %+v became %+v, %v", label, value, got.Devices, again, err)
			}
		}
		if _, err := setting.ParsePolicy(map[string]string{setting.LabelDeny: value}); err != nil && !errors.Is(err, api.ErrInvalid) {
			t.Errorf("%s=%q: %v", setting.LabelDeny, value, err)
		}
	})
}

// readsLifecycle holds that a value is refused for what it is, and that what is
// read can be carried out: no share is nothing, no time runs backwards.
func readsLifecycle(t *testing.T, value string) {
	for _, label := range []string{
		setting.LabelCanary, setting.LabelProgressDeadline, setting.LabelRescheduleAfter, setting.LabelRebalance, setting.LabelStrategy, setting.LabelDependsOn,
	} {
		labels := map[string]string{label: value, "other": value}
		got, err := setting.ParseLifecycle(labels)
		if err != nil {
			if !errors.Is(err, api.ErrInvalid) || !strings.Contains(err.Error(), label) {
				t.Errorf("%s=%q: %v", label, value, err)
			}
			continue
		}
		if got.Canary.Percent > 100 || label == setting.LabelCanary && got.Canary.Of(7) == 0 || min(got.ProgressDeadline, got.RescheduleAfter, got.Rebalance) < 0 {
			t.Errorf("%s=%q: %+v", label, value, got)
		}
		if of := setting.LifecycleOf(labels); of != got {
			t.Errorf("%s=%q: %+v, and without errors %+v", label, value, got, of)
		}
	}
}
