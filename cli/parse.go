package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-connections/nat"

	"github.com/swarmctl/swarmctl/api/setting"
)

// fields splits a,b="c,d",e the way encoding/csv does.
func fields(s string) ([]string, error) { return csv.NewReader(strings.NewReader(s)).Read() }

// longForm recognises key=value[,key=value...], as opposed to Docker's short forms.
var longForm = regexp.MustCompile(`\w+=\w+(,\w+=\w+)*`)

// parseMount reads --mount's type=bind,source=/a,target=/b,readonly.
func parseMount(s string) (mount.Mount, error) {
	m := mount.Mount{Type: mount.TypeVolume}
	s = strings.TrimSpace(s)
	if s == "" {
		return m, errors.New("value is empty")
	}
	list, err := fields(s)
	if err != nil {
		return m, err
	}
	for _, f := range list {
		key, val, hasValue := strings.Cut(f, "=")
		if k := strings.TrimSpace(key); k != key {
			return m, fmt.Errorf("invalid option '%s' in '%s': option should not have whitespace", k, f)
		}
		if hasValue && strings.TrimSpace(val) == "" {
			return m, fmt.Errorf("invalid value for '%s': value is empty", key)
		}
		if strings.TrimSpace(val) != val {
			return m, fmt.Errorf("invalid value for '%s' in '%s': value should not have whitespace", key, f)
		}
		key = strings.ToLower(key)
		if !hasValue && !slices.Contains([]string{"readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"}, key) {
			return m, fmt.Errorf("invalid field '%s' must be a key=value pair", f)
		}
		if err := setMount(&m, key, val, f, hasValue); err != nil {
			return m, err
		}
	}
	return m, checkMount(&m)
}

// setMount applies one option of a mount.
func setMount(m *mount.Mount, key, val, field string, hasValue bool) (err error) {
	switch key {
	case "type":
		m.Type = mount.Type(strings.ToLower(val))
	case "source", "src":
		m.Source = val
		if strings.HasPrefix(val, ".") {
			if abs, err := filepath.Abs(val); err == nil {
				m.Source = abs
			}
		}
	case "target", "dst", "destination":
		m.Target = val
	case "readonly", "ro":
		m.ReadOnly, err = mountBool(key, val, hasValue)
	case "consistency":
		m.Consistency = mount.Consistency(strings.ToLower(val))
	case "bind-propagation":
		need(&m.BindOptions).Propagation = mount.Propagation(strings.ToLower(val))
	case "bind-nonrecursive":
		need(&m.BindOptions).NonRecursive, err = mountBool(key, val, hasValue)
	case "bind-create-src":
		need(&m.BindOptions).CreateMountpoint, err = mountBool(key, val, hasValue)
	case "bind-recursive":
		return setRecursive(m, key, val)
	case "volume-subpath":
		need(&m.VolumeOptions).Subpath = val
	case "volume-nocopy":
		need(&m.VolumeOptions).NoCopy, err = mountBool(key, val, hasValue)
	case "volume-label":
		putPair(&need(&m.VolumeOptions).Labels, val)
	case "volume-driver":
		need(&need(&m.VolumeOptions).DriverConfig).Name = val
	case "volume-opt":
		putPair(&need(&need(&m.VolumeOptions).DriverConfig).Options, val)
	case "image-subpath":
		need(&m.ImageOptions).Subpath = val
	case "tmpfs-size":
		if need(&m.TmpfsOptions).SizeBytes, err = parseBytes(val); err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, val)
		}
	case "tmpfs-mode":
		mode, err := strconv.ParseUint(val, 8, 32)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, val)
		}
		need(&m.TmpfsOptions).Mode = os.FileMode(mode)
	default:
		return fmt.Errorf("unexpected key '%s' in '%s'", key, field)
	}
	return err
}

func setRecursive(m *mount.Mount, key, val string) error {
	switch b := need(&m.BindOptions); val {
	case "enabled":
	case "disabled":
		b.NonRecursive = true
	case "writable":
		b.ReadOnlyNonRecursive = true
	case "readonly":
		b.ReadOnlyForceRecursive = true
	default:
		return fmt.Errorf(`invalid value for %s: %s (must be "enabled", "disabled", "writable", or "readonly")`, key, val)
	}
	return nil
}

// checkMount holds a mount's options against its type.
func checkMount(m *mount.Mount) error {
	mixed := ""
	switch {
	case m.Type == "":
		return errors.New("type is required")
	case m.Target == "":
		return errors.New("target is required")
	case m.VolumeOptions != nil && m.Type != mount.TypeVolume:
		mixed = "volume-*"
	case m.BindOptions != nil && m.Type != mount.TypeBind:
		mixed = "bind-*"
	case m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs:
		mixed = "tmpfs-*"
	case m.ImageOptions != nil && m.Type != mount.TypeImage:
		mixed = "image-*"
	}
	if mixed != "" {
		return fmt.Errorf("cannot mix '%s' options with mount type '%s'", mixed, m.Type)
	}
	if b := m.BindOptions; b != nil {
		switch {
		case b.ReadOnlyNonRecursive && !m.ReadOnly:
			return errors.New("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
		case b.ReadOnlyForceRecursive && !m.ReadOnly:
			return errors.New("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
		case b.ReadOnlyForceRecursive && b.Propagation != mount.PropagationRPrivate:
			return errors.New("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
		}
	}
	return nil
}

func mountBool(key, val string, hasValue bool) (bool, error) {
	switch {
	case !hasValue, val == "1", val == "true":
		return true, nil
	case val == "0", val == "false":
		return false, nil
	}
	return false, fmt.Errorf(`invalid value for '%s': invalid boolean value (%q): must be one of "true", "1", "false", or "0" (default "true")`, key, val)
}

// need returns what *p points to, made where there is nothing.
func need[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}

// putPair sets key=value in a map, made where there is none.
func putPair(m *map[string]string, s string) {
	if *m == nil {
		*m = map[string]string{}
	}
	k, v, _ := strings.Cut(s, "=")
	if k != "" {
		(*m)[k] = v
	}
}

// publication is a port to publish. Docker's spec has no field for the address;
// it becomes a label.
type publication struct {
	swarm.PortConfig
	hostIP netip.Addr // the only address of a node that has it; the zero Addr for all
}

// portsOf are the ports that flags name.
func portsOf(g given, flag string) (out []swarm.PortConfig) {
	for _, p := range slices.Concat(all[[]publication](g, flag)...) {
		out = append(out, p.PortConfig)
	}
	return out
}

// parsePort reads -p's [[address:]published:]target[/protocol], ranges
// included, and published=80,target=8080,protocol=tcp,mode=host,host_ip=::1.
func parsePort(s string) ([]publication, error) {
	if longForm.MatchString(s) {
		p, err := parseLongPort(s)
		return []publication{p}, err
	}
	ports, bindings, err := nat.ParsePortSpecs([]string{s})
	if err != nil {
		return nil, err
	}
	var out []publication
	for port := range ports {
		for _, b := range bindings[port] {
			ip, err := parseHostIP(b.HostIP, b.HostPort != "")
			if err != nil {
				return nil, err
			}
			from, to := 0, 0
			if b.HostPort != "" {
				if from, to, err = nat.ParsePortRangeToInt(b.HostPort); err != nil {
					return nil, fmt.Errorf("invalid hostport binding (%s) for port (%s)", b.HostPort, port.Port())
				}
			}
			for published := from; published <= to; published++ {
				out = append(out, publication{swarm.PortConfig{
					Protocol: swarm.PortConfigProtocol(strings.ToLower(port.Proto())), TargetPort: uint32(port.Int()),
					PublishedPort: uint32(published), PublishMode: swarm.PortConfigPublishModeIngress,
				}, ip})
			}
		}
	}
	slices.SortFunc(out, func(a, b publication) int { return comparePorts(a.PortConfig, b.PortConfig) })
	return out, nil
}

// parseHostIP reads the address that a port is bound to, if one is given. A
// port that the cluster chooses has no number yet to remember the address by.
func parseHostIP(s string, published bool) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	ip, err := setting.ParseHostIP(s)
	if err == nil && !published {
		err = fmt.Errorf("an address (%s) needs a published port beside it, as in %[1]s:8080:80", s)
	}
	return ip, err
}

func parseLongPort(s string) (publication, error) {
	p := publication{PortConfig: swarm.PortConfig{Protocol: swarm.PortConfigProtocolTCP, PublishMode: swarm.PortConfigPublishModeIngress}}
	hostIP := ""
	list, err := fields(s)
	if err != nil {
		return p, err
	}
	for _, f := range list {
		key, val, ok := strings.Cut(strings.ToLower(f), "=")
		if !ok || key == "" {
			return p, fmt.Errorf("invalid field: %s", f)
		}
		switch key {
		case "protocol":
			if val != "tcp" && val != "udp" && val != "sctp" {
				return p, fmt.Errorf("invalid protocol value '%s'", val)
			}
			p.Protocol = swarm.PortConfigProtocol(val)
		case "mode":
			if val != "ingress" && val != "host" {
				return p, fmt.Errorf("invalid publish mode value (%s): must be either 'ingress' or 'host'", val)
			}
			p.PublishMode = swarm.PortConfigPublishMode(val)
		case "target":
			p.TargetPort, err = portNumber("target", val)
		case "published":
			p.PublishedPort, err = portNumber("published", val)
		case "host_ip":
			hostIP = val
		default:
			return p, fmt.Errorf("invalid field key: %s", key)
		}
		if err != nil {
			return p, err
		}
	}
	if p.TargetPort == 0 {
		return p, errors.New("missing mandatory field 'target'")
	}
	p.hostIP, err = parseHostIP(hostIP, p.PublishedPort != 0)
	return p, err
}

func portNumber(what, val string) (uint32, error) {
	n, err := strconv.ParseUint(val, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("invalid %s port (%s): value must be an integer: %w", what, val, errors.Unwrap(err))
	}
	return uint32(n), nil
}

// parseNetwork reads a network's name, or name=web,alias=a,driver-opt=k=v.
func parseNetwork(s string) (swarm.NetworkAttachmentConfig, error) {
	n := swarm.NetworkAttachmentConfig{Target: s}
	if !longForm.MatchString(s) {
		return n, nil
	}
	n = swarm.NetworkAttachmentConfig{Aliases: []string{}}
	list, err := fields(s)
	if err != nil {
		return n, err
	}
	for _, f := range list {
		key, val, ok := strings.Cut(strings.ToLower(f), "=")
		if !ok || key == "" {
			return n, fmt.Errorf("invalid field %s", f)
		}
		key, val = strings.TrimSpace(key), strings.TrimSpace(val)
		switch key {
		case "name":
			n.Target = val
		case "alias":
			n.Aliases = append(n.Aliases, val)
		case "driver-opt":
			if k, _, ok := strings.Cut(val, "="); !ok || k == "" {
				return n, errors.New("invalid key value pair format in driver options")
			}
			putPair(&n.DriverOpts, val)
		default:
			return n, errors.New("invalid field key " + key)
		}
	}
	if n.Target == "" {
		return n, errors.New("network name/id is not specified")
	}
	return n, nil
}

// fileRef is what --secret and --config have in common.
type fileRef struct {
	source, target, uid, gid string
	mode                     os.FileMode
}

func parseFileRef(s, what string) (fileRef, error) {
	r := fileRef{uid: "0", gid: "0", mode: 0o444}
	list, err := fields(s)
	if err != nil {
		return r, err
	}
	if len(list) == 1 && !strings.Contains(list[0], "=") {
		r.source, r.target = list[0], list[0]
		return r, nil
	}
	for _, f := range list {
		key, val, ok := strings.Cut(f, "=")
		if !ok || key == "" {
			return r, fmt.Errorf("invalid field '%s' must be a key=value pair", f)
		}
		switch strings.ToLower(key) {
		case "source", "src":
			r.source = val
		case "target":
			r.target = val
		case "uid":
			r.uid = val
		case "gid":
			r.gid = val
		case "mode":
			m, err := strconv.ParseUint(val, 0, 32)
			if err != nil {
				return r, fmt.Errorf("invalid mode specified: %w", err)
			}
			r.mode = os.FileMode(m)
		default:
			return r, fmt.Errorf("invalid field in %s request: %s", what, key)
		}
	}
	if r.source == "" {
		return r, errors.New("source is required")
	}
	if r.target == "" {
		r.target = r.source
	}
	return r, nil
}

func parseSecret(s string) (*swarm.SecretReference, error) {
	r, err := parseFileRef(s, "secret")
	return &swarm.SecretReference{SecretName: r.source, File: &swarm.SecretReferenceFileTarget{Name: r.target, UID: r.uid, GID: r.gid, Mode: r.mode}}, err
}

func parseConfig(s string) (*swarm.ConfigReference, error) {
	r, err := parseFileRef(s, "config")
	return &swarm.ConfigReference{ConfigName: r.source, File: &swarm.ConfigReferenceFileTarget{Name: r.target, UID: r.uid, GID: r.gid, Mode: r.mode}}, err
}
