package state

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/swarmctl/swarmctl/api"
)

var rewrite = flag.Bool("rewrite", false, "write what happened into the scenarios as what is expected")

// A scenario is a txtar archive of two files: commands, one log entry a line,
// and what happens, as the results, the events and "dump" say it.
func TestScenarios(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(ar.Files[0].Data))
			if *rewrite {
				ar.Files[1].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(ar.Files[1].Data), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func play(t *testing.T, script string) string {
	s := New()
	_, cursor := s.Follow()
	var out strings.Builder
	index := uint64(0)
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fmt.Fprintf(&out, "> %s\n", line)
		switch line {
		case "dump":
			dump(&out, s.View())
			continue
		case "contents":
			dumpContents(&out, s.View())
			continue
		case "addresses":
			tellAddresses(&out, s.View())
			continue
		case "restore": // from a snapshot, as a manager that was away does
			s = restoredCopy(t, s)
			_, cursor = s.Follow()
			continue
		}
		index++
		var ops []Op
		for part := range strings.SplitSeq(line, ";") {
			ops = append(ops, parseOp(t, strings.Fields(part)))
		}
		r := s.Apply(index, []Command{{At: t0, Ops: ops}})[0]
		fmt.Fprintf(&out, "%d:", r.Index)
		if r.Code != "" {
			fmt.Fprintf(&out, " %s: %s", r.Code, r.Message)
		}
		if r.Stale != nil {
			fmt.Fprintf(&out, " stale %v", r.Stale)
		}
		if e, ok := cursor.TryNext(); ok {
			tell(&out, e)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// parseOp reads one operation: a verb and its arguments; name=value where an
// argument may be left out.
func parseOp(t *testing.T, words []string) Op {
	args := map[string]string{}
	var plain []string
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			args[k] = v
		} else {
			plain = append(plain, w)
		}
	}
	number := func(key string) uint64 {
		n, _ := strconv.ParseUint(args[key], 10, 64)
		return n
	}
	state := func(name string) api.TaskState {
		s, err := api.ParseTaskState(name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	meta := api.Meta{Version: swarm.Version{Index: number("version")}}
	switch words[0] {
	case "service":
		s := &api.Service{ID: api.ServiceID(plain[0]), Meta: meta}
		s.Spec.Name = plain[1]
		s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: args["image"]}
		s.Spec.Labels = map[string]string{"label": args["label"]}
		c := s.Spec.TaskTemplate.ContainerSpec
		if id := args["secret"]; id != "" {
			c.Secrets = []*swarm.SecretReference{{SecretID: id}}
		}
		if id := args["config"]; id != "" {
			c.Configs = []*swarm.ConfigReference{{ConfigID: id}}
		}
		putOnNetworks(t, s, args)
		return Op{PutService: s}
	case "rm-service":
		return Op{DeleteService: &DeleteService{ID: api.ServiceID(plain[0])}}
	case "node":
		return Op{PutNode: &api.Node{ID: api.NodeID(plain[0]), Meta: meta}}
	case "rm-node":
		return Op{DeleteNode: &DeleteNode{ID: api.NodeID(plain[0]), Version: number("version")}}
	case "session":
		return Op{ObserveNode: &ObserveNode{ID: api.NodeID(plain[0]), IfSession: args["if"], Status: &api.NodeStatus{State: api.NodeReady, Session: plain[1]}}}
	case "down":
		return Op{ObserveNode: &ObserveNode{ID: api.NodeID(plain[0]), Verdict: &Verdict{State: api.NodeDown}}}
	case "task":
		return Op{CreateTasks: []*api.Task{{ID: api.TaskID(plain[0]), ServiceID: api.ServiceID(plain[1]), Slot: 1, SpecVersion: number("spec"), Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}}}
	case "assign":
		return Op{AssignTasks: []Assign{{Task: api.TaskID(plain[0]), Node: api.NodeID(plain[1])}}}
	case "desire":
		return Op{DesireTasks: []Desire{{api.TaskID(plain[0]), state(plain[1])}}}
	case "report":
		return Op{ReportTasks: []Report{{Task: api.TaskID(plain[0]), From: api.NodeID(args["from"]), Status: api.TaskStatus{State: state(plain[1]), At: t0}}}}
	case "rm-task":
		return Op{DeleteTasks: []api.TaskID{api.TaskID(plain[0])}}
	}
	if op, ok := parseObject(words[0], plain, args, meta); ok {
		return op
	}
	t.Fatalf("unknown operation %q", words)
	return Op{}
}

// parseObject reads an operation on a secret, a config or a network.
func parseObject(verb string, plain []string, args map[string]string, meta api.Meta) (Op, bool) {
	named := func(i int) swarm.Annotations {
		return swarm.Annotations{Name: plain[i], Labels: map[string]string{"label": args["label"]}}
	}
	switch verb {
	case "secret":
		return Op{PutSecret: &api.Secret{ID: api.SecretID(plain[0]), Meta: meta, Spec: api.SecretSpec{Annotations: named(1), Data: []byte(args["data"])}}}, true
	case "rm-secret":
		return Op{DeleteSecret: &DeleteSecret{ID: api.SecretID(plain[0])}}, true
	case "config":
		return Op{PutConfig: &api.Config{ID: api.ConfigID(plain[0]), Meta: meta, Spec: api.ConfigSpec{Annotations: named(1), Data: []byte(args["data"])}}}, true
	case "secret-version":
		s := &api.Secret{ID: api.SecretID(plain[0]), Meta: meta, Spec: api.SecretSpec{Annotations: named(1), Data: []byte(args["data"])}}
		return Op{PutVersion: &PutVersion{Secret: s, Except: []api.ServiceID{api.ServiceID(args["except"])}}}, true
	case "config-version":
		return Op{PutVersion: &PutVersion{Config: &api.Config{ID: api.ConfigID(plain[0]), Meta: meta, Spec: api.ConfigSpec{Annotations: named(1), Data: []byte(args["data"])}}}}, true
	case "rm-config":
		return Op{DeleteConfig: &DeleteConfig{ID: api.ConfigID(plain[0])}}, true
	case "rm-network":
		return Op{DeleteNetwork: &DeleteNetwork{ID: api.NetworkID(plain[0])}}, true
	case "attach":
		c := &api.AttachedContainer{ID: plain[0], Name: plain[0], NodeID: api.NodeID(plain[1]), Meta: meta}
		for _, on := range plain[2:] {
			id, addrs, _ := strings.Cut(on, "/")
			a := api.Attachment{Network: api.NetworkID(id)}
			for _, addr := range strings.FieldsFunc(addrs, isComma) {
				a.Addrs = append(a.Addrs, netip.MustParseAddr(addr))
			}
			c.Networks = append(c.Networks, a)
		}
		return Op{PutAttached: c}, true
	case "detach":
		return Op{DeleteAttached: &DeleteAttached{ID: plain[0]}}, true
	case "rollback":
		from, _ := strconv.ParseUint(args["from"], 10, 64)
		return Op{SetUpdateStatus: &SetUpdateStatus{ID: api.ServiceID(plain[0]), RollBackFrom: from, Status: &swarm.UpdateStatus{Message: "rolled back"}}}, true
	case "network":
	default:
		return Op{}, false
	}
	n := &api.Network{ID: api.NetworkID(plain[0]), Spec: api.NetworkSpec{Annotations: named(1)}}
	for i, subnet := range plain[2:] {
		n.IPAM.Configs = append(n.IPAM.Configs, swarm.IPAMConfig{Subnet: subnet, Range: args["range"], Gateway: args["gateway"]})
		id, _ := strconv.ParseUint(args["vxlan"], 10, 32)
		n.VXLAN = append(n.VXLAN, uint32(id)+uint32(i))
	}
	n.Spec.Attachable, n.Spec.Ingress = args["attachable"] == "yes", args["ingress"] == "yes"
	if args["asked"] == "yes" {
		n.Spec.IPAMOptions = &n.IPAM
		n.Spec.DriverConfiguration = &swarm.Driver{Options: map[string]string{api.OptionVXLAN: args["vxlan"]}}
	}
	return Op{CreateNetwork: n}, true
}

// putOnNetworks reads network=a,b vip=no publish=8080:80/udp,0:53 host=9090:90
// and what the service had before, where the version says that there is one.
func putOnNetworks(t *testing.T, s *api.Service, args map[string]string) {
	for _, id := range strings.FieldsFunc(args["network"], isComma) {
		s.Spec.TaskTemplate.Networks = append(s.Spec.TaskTemplate.Networks, swarm.NetworkAttachmentConfig{Target: id})
	}
	e := &swarm.EndpointSpec{}
	if args["vip"] == "no" {
		e.Mode = swarm.ResolutionModeDNSRR
	}
	for mode, list := range map[swarm.PortConfigPublishMode]string{"ingress": args["publish"], "host": args["host"]} {
		for _, text := range strings.FieldsFunc(list, isComma) {
			numbers, protocol, _ := strings.Cut(text, "/")
			p := swarm.PortConfig{PublishMode: mode, Protocol: swarm.PortConfigProtocol(protocol)}
			if _, err := fmt.Sscanf(numbers, "%d:%d", &p.PublishedPort, &p.TargetPort); err != nil {
				t.Fatal(text, err)
			}
			e.Ports = append(e.Ports, p)
		}
	}
	if e.Mode != "" || e.Ports != nil {
		s.Spec.EndpointSpec = e
	}
	if image := args["rollback-to"]; image != "" {
		spec := s.Spec
		spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{PublishMode: "ingress", PublishedPort: 8080, TargetPort: 80}}}
		spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: image}
		s.PreviousSpec = &spec
	}
}

func isComma(r rune) bool { return r == ',' }

// tellAddresses says who has which address, number and port, and how many are left.
func tellAddresses(out *strings.Builder, v *View) {
	for n := range v.Nodes() {
		fmt.Fprintf(out, "node %s number %d%s\n", n.ID, n.Number, inWords(n.Gateways))
	}
	for s := range v.Services() {
		fmt.Fprintf(out, "service %s%s", s.Spec.Name, inWords(s.Endpoint.VIPs))
		for _, p := range s.Endpoint.Ports {
			fmt.Fprintf(out, " %s %d:%d/%s", p.PublishMode, p.PublishedPort, p.TargetPort, p.Protocol)
		}
		if s.UpdateStatus != nil {
			fmt.Fprintf(out, " %q", s.UpdateStatus.Message)
		}
		out.WriteByte('\n')
	}
	for t := range v.Tasks() {
		fmt.Fprintf(out, "task %s %s%s\n", t.ID, t.Status.State, inWords(t.Networks))
	}
	for c := range v.AttachedContainers() {
		fmt.Fprintf(out, "container %s%s\n", c.Name, inWords(c.Networks))
	}
	for n := range v.Networks() {
		fmt.Fprintf(out, "network %s: %d left\n", v.AddressSpace(n.ID), v.FreeAddrs(n.ID))
	}
}

func inWords(list []api.Attachment) (text string) {
	for _, a := range list {
		text += fmt.Sprintf(" %s%v", a.Network, a.Addrs)
	}
	return text
}

func tell(out *strings.Builder, e *Event) {
	for _, p := range e.Nodes {
		fmt.Fprintf(out, " node%s", sign(p, func(n *api.Node) any { return n.ID }))
	}
	for _, p := range e.Services {
		fmt.Fprintf(out, " service%s", sign(p, func(s *api.Service) any { return s.Spec.Name }))
	}
	for _, p := range e.Tasks {
		fmt.Fprintf(out, " task%s", sign(p, func(t *api.Task) any { return t.ID }))
	}
	for _, p := range e.Secrets {
		fmt.Fprintf(out, " secret%s", sign(p, func(s *api.Secret) any { return s.Spec.Name }))
	}
	for _, p := range e.Configs {
		fmt.Fprintf(out, " config%s", sign(p, func(c *api.Config) any { return c.Spec.Name }))
	}
	for _, p := range e.Networks {
		fmt.Fprintf(out, " network%s", sign(p, func(n *api.Network) any { return n.Spec.Name }))
	}
	for _, p := range e.Attached {
		fmt.Fprintf(out, " container%s", sign(p, func(c *api.AttachedContainer) any { return c.Name }))
	}
}

func sign[T any](p Pair[T], name func(*T) any) string {
	switch {
	case p.Before == nil:
		return fmt.Sprint("+", name(p.After))
	case p.After == nil:
		return fmt.Sprint("-", name(p.Before))
	}
	return fmt.Sprint("~", name(p.After))
}

// dumpContents tells of every version of a secret or a config, and of those who refer to them.
func dumpContents(out *strings.Builder, v *View) {
	tell := func(o opened) {
		fmt.Fprintf(out, "%s is version %d of %s: %q", o.id, o.version.Number(), o.name.Name, o.data)
		if o.version.Superseded {
			out.WriteString(", superseded")
		}
		out.WriteByte('\n')
	}
	refs := func(s *api.ServiceSpec) (ids []string) {
		for _, r := range refsOf(s) {
			ids = append(ids, r.ID)
		}
		return ids
	}
	for s := range all[api.Secret](v, tableSecrets, byID) {
		tell(secrets.open(s))
	}
	for c := range all[api.Config](v, tableConfigs, byID) {
		tell(configs.open(c))
	}
	for s := range v.Services() {
		fmt.Fprintf(out, "service %s: %v, before %v\n", s.Name(), refs(&s.Spec), refs(s.PreviousSpec))
	}
	for s := range all[api.SpecVersion](v, tableSpecs, byID) {
		fmt.Fprintf(out, "spec %s/%d: %v\n", s.ServiceID, s.Version, refs(&s.Spec))
	}
}

func dump(out *strings.Builder, v *View) {
	for n := range v.Nodes() {
		fmt.Fprintf(out, "node %s version %d session %q\n", n.ID, n.Meta.Version.Index, n.Status.Session)
	}
	for s := range v.Services() {
		fmt.Fprintf(out, "service %s version %d spec %d previous %d\n", s.Spec.Name, s.Meta.Version.Index, s.SpecVersion, s.PreviousSpecVersion)
	}
	for s := range all[api.SpecVersion](v, tableSpecs, byID) {
		fmt.Fprintf(out, "spec %s/%d image %s\n", s.ServiceID, s.Version, s.Spec.TaskTemplate.ContainerSpec.Image)
	}
	for t := range v.Tasks() {
		fmt.Fprintf(out, "task %s node %q spec %d desired %s is %s\n", t.ID, t.NodeID, t.SpecVersion, t.Desired, t.Status.State)
	}
	for s := range v.Secrets() {
		fmt.Fprintf(out, "secret %s version %d data %q label %q\n", s.Spec.Name, s.Meta.Version.Index, s.Spec.Data, s.Spec.Labels["label"])
	}
	for c := range v.Configs() {
		fmt.Fprintf(out, "config %s version %d data %q label %q\n", c.Spec.Name, c.Meta.Version.Index, c.Spec.Data, c.Spec.Labels["label"])
	}
	for n := range v.Networks() {
		fmt.Fprintf(out, "network %s version %d subnets %v vxlan %v\n", n.Spec.Name, n.Meta.Version.Index, n.IPAM.Configs, n.VXLAN)
	}
}
