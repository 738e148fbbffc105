package stack

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/swarmctl/swarmctl/api/setting"
)

// ownLabels are the labels of a service: those of the file, and those that say
// what Docker's spec has no field for. The two may not contradict each other.
func ownLabels(s *types.ServiceConfig, d *types.DeployConfig, hostIPs []string, dependsOn, pod string) (map[string]string, error) {
	labels := map[string]string{}
	maps.Copy(labels, d.Labels)
	gpus, err := gpuRequest(s, d)
	if err != nil {
		return labels, err
	}
	own := map[string]string{
		setting.LabelPID: s.Pid, setting.LabelIPC: s.Ipc, setting.LabelGPUs: gpus,
		setting.LabelDevices: devices(s.Devices), setting.LabelHostIP: strings.Join(hostIPs, ","), setting.LabelDependsOn: dependsOn,
		setting.LabelPod: pod,
	}
	if s.Privileged {
		own[setting.LabelPrivileged] = "true"
	}
	if s.ShmSize > 0 {
		own[setting.LabelShmSize] = strconv.FormatInt(int64(s.ShmSize), 10)
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(own)) {
		value := own[key]
		if value == "" {
			continue
		}
		if given, ok := labels[key]; ok && given != value {
			errs = append(errs, fmt.Errorf("deploy.labels: %s=%s, and another key says %s: leave one out", key, given, value))
		}
		labels[key] = value
	}
	if len(errs) == 0 {
		_, err := setting.Parse(labels)
		_, lifecycleErr := setting.ParseLifecycle(labels)
		errs = append(errs, err, lifecycleErr)
	}
	return labels, errors.Join(errs...)
}

func devices(from []types.DeviceMapping) string {
	list := make([]string, len(from))
	for i, d := range from {
		list[i] = d.Source
		if d.Target != "" {
			list[i] += ":" + d.Target
		}
		if d.Permissions != "" {
			list[i] += ":" + d.Permissions
		}
	}
	return strings.Join(list, ",")
}

// gpuRequest is what gpus, or the devices of the reservations, ask for.
func gpuRequest(s *types.ServiceConfig, d *types.DeployConfig) (string, error) {
	list := slices.Clone(s.Gpus)
	if r := d.Resources.Reservations; r != nil {
		for _, device := range r.Devices {
			if !slices.Contains(device.Capabilities, "gpu") {
				return "", fmt.Errorf("deploy.resources.reservations.devices: only devices with the capability gpu can be reserved, not %q; use generic_resources", device.Capabilities)
			}
			list = append(list, device)
		}
	}
	switch len(list) {
	case 0:
		return "", nil
	case 1:
		return gpuText(list[0])
	}
	return "", errors.New("gpus: a service can make one request; ask for all of them in one")
}

// gpuText is a request as `docker run --gpus` takes it.
func gpuText(r types.DeviceRequest) (string, error) {
	var fields []string
	add := func(key string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			fields = append(fields, key+"="+strings.Join(values, ","))
		}
	}
	add("driver", r.Driver)
	switch {
	case len(r.IDs) > 0:
		add("device", r.IDs...)
	case r.Count == setting.AllGPUs || r.Count == 0:
		add("count", "all")
	default:
		add("count", strconv.FormatInt(int64(r.Count), 10))
	}
	add("capabilities", r.Capabilities...)
	var options []string
	for _, k := range slices.Sorted(maps.Keys(r.Options)) {
		options = append(options, k+"="+r.Options[k])
	}
	add("options", options...)
	var b strings.Builder
	w := csv.NewWriter(&b)
	if err := w.Write(fields); err != nil {
		return "", err
	}
	w.Flush()
	return strings.TrimSpace(b.String()), w.Error()
}

func fileMode(m uint32) os.FileMode { return os.FileMode(m) }
