package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/go-units"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

func nodeVerbs() []verb {
	return []verb{
		{name: "demote", args: "NODE [NODE...]", usage: "Make workers of one or more managers", min: 1, max: -1, do: nodeDemote},
		{name: "inspect", args: "self|NODE [NODE...]", usage: "Display detailed information on one or more nodes", flags: []*opt{inspectFormatFlag(), prettyFlag()}, min: 1, max: -1, do: nodeInspect},
		{name: "ls", aliases: []string{"list"}, usage: "List the nodes", flags: []*opt{filterFlag(), formatFlag(""), quietFlag("Only display IDs")}, do: nodeList},
		{name: "promote", args: "NODE [NODE...]", usage: "Make managers of one or more workers", min: 1, max: -1, do: nodePromote},
		{name: "ps", args: "[NODE...]", usage: "List the tasks on one or more nodes (default: this one)", flags: taskFlags(), max: -1, do: nodePs},
		{name: "rm", aliases: []string{"remove"}, args: "NODE [NODE...]", usage: "Remove one or more nodes from the cluster", min: 1, max: -1, do: nodeRemove, flags: []*opt{
			{name: "force", short: "f", kind: boolKind, usage: "Remove a node that is not down, too"},
		}},
		{name: "update", args: "NODE", usage: "Change the availability, labels or role of a node", min: 1, max: 1, do: nodeUpdate, flags: append([]*opt{
			{name: "availability", kind: stringKind, usage: `Availability of the node ("active", "pause", "drain")`},
			{name: "label-add", kind: labelKind, usage: `Add or update a node label ("key=value")`},
			{name: "label-rm", kind: listKind, usage: "Remove a node label by its key"},
			{name: "role", kind: stringKind, usage: `Role of the node ("worker", "manager")`},
		}, drainFlags()...), long: "A drained node's tasks serve until others do so elsewhere, as many at once as an update of their service replaces;\n" +
			"what finds no place in time is stopped. --wait waits for the end of that."},
	}
}

// loadedNode is a node with what Docker's has no field for.
type loadedNode struct {
	swarm.Node
	Load *api.NodeLoad // nil: not known
}

// nodeRow is a line of node ls.
type nodeRow struct {
	Availability, EngineVersion, Hostname, ID, ManagerStatus string
	Self                                                     bool
	Status, TLSStatus                                        string
	load                                                     *api.NodeLoad
}

// Load is how busy the node is, for formats that ask. Docker's CLI does not have it,
// so it is not in --format json.
func (r nodeRow) Load() string {
	if r.load == nil {
		return ""
	}
	return r.load.String()
}

func (c *call) nodes(ctx context.Context) (list []loadedNode, err error) {
	return list, c.askJSON(ctx, (&url.URL{Path: "/nodes", RawQuery: filtered(c.filters()).Encode()}).String(), &list)
}

func nodeList(ctx context.Context, c *call) error {
	nodes, err := c.nodes(ctx)
	if err != nil {
		return err
	}
	var info system.Info
	if len(nodes) > 0 && !c.flags.yes("quiet") {
		if info, err = c.api().Info(ctx); err != nil {
			return err
		}
	}
	slices.SortFunc(nodes, func(a, b loadedNode) int {
		return naturalCompare(a.Description.Hostname, b.Description.Hostname)
	})
	l := listing{
		headers: map[string]string{"ID": "ID", "Self": "", "Hostname": "HOSTNAME", "Status": "STATUS", "Availability": "AVAILABILITY", "ManagerStatus": "MANAGER STATUS", "EngineVersion": "ENGINE VERSION", "TLSStatus": "TLS STATUS", "Load": "IN USE"},
		table:   "{{.ID}} {{if .Self}}*{{else}} {{ end }}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}",
		raw:     `node_id: {{.ID}}\nhostname: {{.Hostname}}\nstatus: {{.Status}}\navailability: {{.Availability}}\nmanager_status: {{.ManagerStatus}}\n`,
		quietly: "{{.ID}}",
	}
	for _, n := range nodes {
		l.rows = append(l.rows, nodeRow{
			ID: n.ID, Self: n.ID == info.Swarm.NodeID, Hostname: n.Description.Hostname,
			Status: pretty(n.Status.State), Availability: pretty(n.Spec.Availability), ManagerStatus: managerStatus(n.Node),
			EngineVersion: n.Description.Engine.EngineVersion, TLSStatus: tlsStatus(n.Node, info.Swarm.Cluster), load: n.Load,
		})
	}
	return c.print(l)
}

func managerStatus(n swarm.Node) string {
	switch m := n.ManagerStatus; {
	case m == nil:
		return ""
	case m.Leader:
		return "Leader"
	default:
		return pretty(m.Reachability)
	}
}

// tlsStatus says whether a node's certificate is of the cluster's current CA.
func tlsStatus(n swarm.Node, cluster *swarm.ClusterInfo) string {
	mine := n.Description.TLSInfo
	if cluster == nil || noTLS(mine) || noTLS(cluster.TLSInfo) {
		return "Unknown"
	}
	ca := cluster.TLSInfo
	if mine.TrustRoot == ca.TrustRoot && bytes.Equal(mine.CertIssuerSubject, ca.CertIssuerSubject) && bytes.Equal(mine.CertIssuerPublicKey, ca.CertIssuerPublicKey) {
		return "Ready"
	}
	return "Needs Rotation"
}

func noTLS(t swarm.TLSInfo) bool {
	return t.TrustRoot == "" && len(t.CertIssuerSubject) == 0 && len(t.CertIssuerPublicKey) == 0
}

// nodeID resolves a name; "self" is the node the daemon is.
func (c *call) nodeID(ctx context.Context, ref string) (string, error) {
	if ref != "self" {
		n, _, err := c.api().NodeInspectWithRaw(ctx, ref)
		return n.ID, err
	}
	info, err := c.api().Info(ctx)
	if err != nil {
		return "", err
	}
	if info.Swarm.NodeID == "" {
		// Not a member, or a worker that knows no ID: any call on nodes says it best.
		_, err := c.api().NodeList(ctx, swarm.NodeListOptions{})
		return "", cmp.Or(err, errors.New(`node ID not found in /info`))
	}
	return info.Swarm.NodeID, nil
}

func nodeInspect(ctx context.Context, c *call) error {
	return c.inspect(c.args, func(ref string) (object, error) {
		if ref == "self" {
			id, err := c.nodeID(ctx, ref)
			if err != nil {
				return object{}, err
			}
			ref = id
		}
		var n loadedNode
		_, raw, err := c.api().NodeInspectWithRaw(ctx, ref)
		if err == nil {
			err = json.Unmarshal(raw, &n)
		}
		return object{raw, n}, err
	}, func(w io.Writer, v any) { printNode(w, v.(loadedNode)) })
}

// changeNode reads a node, changes its spec and writes it back; change says
// false where there is nothing to do.
func (c *call) changeNode(ctx context.Context, ref string, change func(*swarm.Node) (bool, error)) error {
	var err error
	for range attempts {
		var n swarm.Node
		n, _, err = c.api().NodeInspectWithRaw(ctx, ref)
		if err != nil {
			return err
		}
		if ok, err := change(&n); err != nil || !ok {
			return err
		}
		if err = c.api().NodeUpdate(ctx, n.ID, n.Version, n.Spec); !isOutdated(err) {
			return err
		}
	}
	return err
}

func nodePromote(ctx context.Context, c *call) error {
	return c.setRole(ctx, swarm.NodeRoleManager, "Node %s is already a manager.\n", "Node %s promoted to a manager in the swarm.\n")
}

func nodeDemote(ctx context.Context, c *call) error {
	return c.setRole(ctx, swarm.NodeRoleWorker, "Node %s is already a worker.\n", "Manager %s demoted in the swarm.\n")
}

// setRole gives every node that was named a role, and says what it did.
func (c *call) setRole(ctx context.Context, role swarm.NodeRole, already, done string) error {
	var errs []error
	for _, ref := range c.args {
		changed := false
		err := c.changeNode(ctx, ref, func(n *swarm.Node) (bool, error) {
			if changed = n.Spec.Role != role; !changed {
				fmt.Fprintf(c.out, already, n.ID)
			}
			n.Spec.Role = role
			return changed, nil
		})
		if err != nil {
			errs = append(errs, err)
		} else if changed {
			fmt.Fprintf(c.out, done, ref)
		}
	}
	return errors.Join(errs...)
}

func nodeUpdate(ctx context.Context, c *call) error {
	if err := checkDrainFlags(c.flags); err != nil {
		return err
	}
	err := c.changeNode(ctx, c.args[0], func(n *swarm.Node) (bool, error) { return true, changeNodeSpec(c.flags, &n.Spec) })
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, c.args[0])
	if c.flags.yes("wait") {
		return c.awaitEmpty(ctx, c.args[0])
	}
	return nil
}

// changeNodeSpec applies the flags of node update.
func changeNodeSpec(g given, spec *swarm.NodeSpec) error {
	if g.has("role") {
		spec.Role = swarm.NodeRole(g.str("role"))
	}
	if g.has("availability") {
		spec.Availability = swarm.NodeAvailability(g.str("availability"))
	}
	for _, key := range g.strs("label-rm") {
		if _, ok := spec.Labels[key]; !ok {
			return fmt.Errorf("key %s doesn't exist in node's labels", key)
		}
		delete(spec.Labels, key)
	}
	if g.has("label-add") {
		if spec.Labels == nil {
			spec.Labels = map[string]string{}
		}
		maps.Copy(spec.Labels, pairs(g.strs("label-add")))
	}
	if g.has("drain-deadline") {
		setLabel(&spec.Labels, setting.LabelDrainDeadline, one(g, "drain-deadline", time.Duration(0)).String())
	}
	return nil
}

func nodeRemove(ctx context.Context, c *call) error {
	return c.eachArg(func(ref string) error {
		return c.api().NodeRemove(ctx, ref, swarm.NodeRemoveOptions{Force: c.flags.yes("force")})
	})
}

func nodePs(ctx context.Context, c *call) error {
	refs := c.args
	if len(refs) == 0 {
		refs = []string{"self"}
	}
	var errs []error
	var tasks []swarm.Task
	for _, ref := range refs {
		id, err := c.nodeID(ctx, ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		args := c.filters()
		args.Add("node", id)
		list, err := c.api().TaskList(ctx, swarm.TaskListOptions{Filters: args})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		tasks = append(tasks, list...)
	}
	if len(errs) == 0 || len(tasks) > 0 {
		if err := c.printTasks(ctx, tasks, c.flags.yes("no-trunc")); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// printNode is node inspect --pretty.
func printNode(w io.Writer, n loadedNode) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("ID:\t\t\t%s", n.ID)
	if n.Spec.Name != "" {
		p("Name:\t\t\t%s", n.Spec.Name)
	}
	printLabels(w, "Labels:", " - ", n.Spec.Labels)
	p("Hostname:              \t%s", n.Description.Hostname)
	p("Joined at:             \t%s", strings.ToLower(n.CreatedAt.String()))
	p("Status:\n State:\t\t\t%s", pretty(n.Status.State))
	if n.Status.Message != "" {
		p(" Message:              \t%s", pretty(n.Status.Message))
	}
	p(" Availability:         \t%s", pretty(n.Spec.Availability))
	if n.Status.Addr != "" {
		p(" Address:\t\t%s", n.Status.Addr)
	}
	if m := n.ManagerStatus; m != nil {
		leader := "No"
		if m.Leader {
			leader = "Yes"
		}
		p("Manager Status:\n Address:\t\t%s\n Raft Status:\t\t%s\n Leader:\t\t%s", m.Addr, pretty(m.Reachability), leader)
	}
	p("Platform:\n Operating System:\t%s\n Architecture:\t\t%s", n.Description.Platform.OS, n.Description.Platform.Architecture)
	memory := ""
	if n.Description.Resources.MemoryBytes != 0 {
		memory = units.BytesSize(float64(n.Description.Resources.MemoryBytes))
	}
	p("Resources:\n CPUs:\t\t\t%d\n Memory:\t\t%s", n.Description.Resources.NanoCPUs/1e9, memory)
	if n.Load != nil {
		p(" In use:\t\t%s", n.Load)
	}
	plugins := map[string][]string{}
	for _, pl := range n.Description.Engine.Plugins {
		plugins[pl.Type] = append(plugins[pl.Type], pl.Name)
	}
	if len(plugins) > 0 {
		p("Plugins:")
		for _, kind := range slices.Sorted(maps.Keys(plugins)) {
			p(" %s:\t\t%s", kind, strings.Join(plugins[kind], ", "))
		}
	}
	p("Engine Version:\t\t%s", n.Description.Engine.EngineVersion)
	printLabels(w, "Engine Labels:", " - ", n.Description.Engine.Labels)
	if t := n.Description.TLSInfo; !noTLS(t) {
		p("TLS Info:\n TrustRoot:\n%s\n Issuer Subject:\t%s\n Issuer Public Key:\t%s", t.TrustRoot,
			base64.StdEncoding.EncodeToString(t.CertIssuerSubject), base64.StdEncoding.EncodeToString(t.CertIssuerPublicKey))
	}
}

// printLabels writes labels sorted by key, under a title, where there are any.
func printLabels(w io.Writer, title, bullet string, labels map[string]string) {
	if len(labels) == 0 {
		return
	}
	fmt.Fprintln(w, title)
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if v := labels[k]; v != "" {
			k += "=" + v
		}
		fmt.Fprintln(w, bullet+k)
	}
}
