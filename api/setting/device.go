package setting

import (
	"encoding/csv"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// Device is a device of the node that a container may use.
type Device struct {
	Host        string
	Container   string
	Permissions string // some of r (read), w (write) and m (make its node)
}

// String is the device as it is given: with what was left out filled in.
func (d Device) String() string { return d.Host + ":" + d.Container + ":" + d.Permissions }

// ParseDevices reads HOST[:CONTAINER[:PERMISSIONS]], several with commas
// between them. As with `docker run --device`, HOST:rw has permissions alone.
func ParseDevices(list string) ([]Device, error) {
	var out []Device
	for text := range strings.SplitSeq(list, ",") {
		d, err := parseDevice(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o Device) bool { return o.Container == d.Container }) {
			return nil, api.Errorf(api.CodeInvalid, "device %q: there is another one at %s in the container", text, d.Container)
		}
		out = append(out, d)
	}
	return out, nil
}

func parseDevice(text string) (Device, error) {
	parts := strings.Split(text, ":")
	d := Device{Host: parts[0], Container: parts[0], Permissions: "rwm"}
	switch {
	case len(parts) == 2 && arePermissions(parts[1]):
		d.Permissions = parts[1]
	case len(parts) == 2:
		d.Container = parts[1]
	case len(parts) == 3:
		d.Container, d.Permissions = parts[1], parts[2]
	case len(parts) > 3:
		return d, api.Errorf(api.CodeInvalid, "device %q: give HOST[:CONTAINER[:PERMISSIONS]]", text)
	}
	switch {
	case !path.IsAbs(d.Host):
		return d, api.Errorf(api.CodeInvalid, "device %q: give the absolute path of a device on the node, as in /dev/fuse", text)
	case !path.IsAbs(d.Container):
		return d, api.Errorf(api.CodeInvalid, "device %q: %q must be an absolute path in the container", text, d.Container)
	case !arePermissions(d.Permissions):
		return d, api.Errorf(api.CodeInvalid, "device %q: invalid permissions %q: use some of r, w and m", text, d.Permissions)
	}
	d.Host, d.Container = path.Clean(d.Host), path.Clean(d.Container)
	return d, nil
}

// arePermissions reports whether s has some of r, w and m, each once.
func arePermissions(s string) bool {
	for i, c := range s {
		if !strings.ContainsRune("rwm", c) || strings.ContainsRune(s[:i], c) {
			return false
		}
	}
	return s != ""
}

// AllGPUs is the count that stands for every GPU of a node.
const AllGPUs = -1

// GPUs is a request for GPUs, as `docker run --gpus` makes it.
type GPUs struct {
	Driver       string
	Count        int // AllGPUs, a number, or 0 where IDs names them
	IDs          []string
	Capabilities []string // gpu is always one of them
	Options      map[string]string
}

// ParseGPUs reads all, a number, or fields as in
// driver=nvidia,count=2,capabilities=compute or "device=0,2".
func ParseGPUs(text string) (*GPUs, error) {
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(lines) != 1 {
		return nil, api.Errorf(api.CodeInvalid, `%q: give all, a number, or fields as in "device=0,2",capabilities=compute`, text)
	}
	g, seen := &GPUs{}, map[string]bool{}
	for _, f := range lines[0] {
		key, value, named := strings.Cut(f, "=")
		if !named {
			key, value = "count", f
		}
		if seen[key] {
			return nil, api.Errorf(api.CodeInvalid, "%q: %s is given twice", text, key)
		}
		seen[key] = true
		if err := g.set(key, value); err != nil {
			return nil, err
		}
	}
	switch {
	case seen["count"] && len(g.IDs) > 0:
		return nil, api.Errorf(api.CodeInvalid, "%q: give a count or devices, not both", text)
	case !seen["count"] && len(g.IDs) == 0:
		g.Count = 1
	}
	if !slices.Contains(g.Capabilities, "gpu") {
		g.Capabilities = append(g.Capabilities, "gpu")
	}
	return g, nil
}

func (g *GPUs) set(key, value string) error {
	switch key {
	case "driver":
		g.Driver = value
	case "count":
		if value == "all" {
			g.Count = AllGPUs
			return nil
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return api.Errorf(api.CodeInvalid, "count %q: give all, or a number from 1", value)
		}
		g.Count = n
	case "device":
		g.IDs = strings.Split(value, ",")
	case "capabilities":
		g.Capabilities = strings.Split(value, ",")
	case "options":
		return g.setOptions(value)
	default:
		return api.Errorf(api.CodeInvalid, "unknown field %q: use count, device, driver, capabilities or options", key)
	}
	if value == "" {
		return api.Errorf(api.CodeInvalid, "%s has no value", key)
	}
	return nil
}

func (g *GPUs) setOptions(list string) error {
	g.Options = map[string]string{}
	for pair := range strings.SplitSeq(list, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return api.Errorf(api.CodeInvalid, "option %q: give name=value", pair)
		}
		g.Options[key] = value
	}
	return nil
}
