package dockerapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/expand"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Below /swarmctl/volumes are the named volumes of all nodes, as the nodes have
// told of them. Docker's own /volumes stays the engine's of this host.

func (a *API) volumeList(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "dangling", "driver", "label", "name", "node")
	if err != nil {
		return err
	}
	if _, err := f.GetBoolOrDefault("dangling", false); err != nil {
		return api.Errorf(api.CodeInvalid, "invalid dangling filter: it is true or false")
	}
	return a.tellCopies(w, r, func(c *api.VolumeCopy) bool { return matchCopy(f, c) })
}

// matchCopy reports whether a copy is one that a list was asked for. A dangling
// one is used by no task.
func matchCopy(f filters.Args, c *api.VolumeCopy) bool {
	if !f.ExactMatch("driver", c.Driver) || !f.Match("name", c.Name) || !labelMatch(f, "label", c.Labels) ||
		!f.ExactMatch("node", c.Hostname) && !f.ExactMatch("node", string(c.NodeID)) {
		return false
	}
	dangling, _ := f.GetBoolOrDefault("dangling", false)
	return !f.Contains("dangling") || dangling == (len(c.Tasks) == 0)
}

func (a *API) volumeInspect(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("id")
	return a.tellCopies(w, r, func(c *api.VolumeCopy) bool { return c.Name == name })
}

func (a *API) tellCopies(w http.ResponseWriter, r *http.Request, wanted func(*api.VolumeCopy) bool) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	list := slices.DeleteFunc(copiesOf(view), func(c api.VolumeCopy) bool { return !wanted(&c) })
	if name := r.PathValue("id"); name != "" && len(list) == 0 {
		return noVolume(name)
	}
	for i := range list {
		if m := list[i].Move; m.UnderWay() {
			list[i].Progress = a.cfg.MoveProgress(m.ID)
		}
	}
	if r.URL.Query().Get("size") != "" {
		a.measure(r.Context(), list)
	}
	return writeJSON(w, http.StatusOK, list)
}

func noVolume(name string) error {
	return api.Errorf(api.CodeNotFound, "volume %s not found: no node has told of one: `swarmctl volume ls` lists them", name)
}

// copiesOf are all copies of all named volumes, by name and then by node.
func copiesOf(view *state.View) []api.VolumeCopy {
	list := []api.VolumeCopy{}
	for n := range view.Nodes() {
		list = append(list, copiesOn(view, n)...)
	}
	slices.SortStableFunc(list, func(a, b api.VolumeCopy) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Hostname, b.Hostname), cmp.Compare(a.NodeID, b.NodeID))
	})
	return list
}

func copiesOn(view *state.View, n *api.Node) []api.VolumeCopy {
	used := usesOn(view, n)
	var list []api.VolumeCopy
	put := func(v api.Volume, reported bool) {
		list = append(list, api.VolumeCopy{
			Volume: v, NodeID: n.ID, Hostname: n.Hostname(), Reported: reported, Away: awayWhy(n), Tasks: used[v.Name], Size: -1,
			Pins: !v.GivenUp && setting.PinsVolume(v.Driver, v.Options, v.Labels),
		})
		delete(used, v.Name)
	}
	for _, v := range n.Volumes {
		put(v, true)
	}
	for name := range used {
		put(api.Volume{Name: name, Driver: "local"}, false)
	}
	return list
}

// usesOn are the tasks on a node that mount named volumes and have not ended.
func usesOn(view *state.View, n *api.Node) map[string][]string {
	used := map[string][]string{}
	for t := range view.NodeTasks(n.ID) {
		spec := view.SpecOf(t)
		if spec == nil || spec.Spec.TaskTemplate.ContainerSpec == nil || t.Status.State < api.TaskAssigned || t.Status.State.Terminal() {
			continue
		}
		for _, m := range spec.Spec.TaskTemplate.ContainerSpec.Mounts {
			if m.Type != mount.TypeVolume || m.Source == "" {
				continue
			}
			name, task := expand.VolumeName(m.Source, &spec.Spec, t, n), view.TaskName(t)
			if !slices.Contains(used[name], task) {
				used[name] = append(used[name], task)
			}
		}
	}
	for _, tasks := range used {
		slices.Sort(tasks)
	}
	return used
}

// awayWhy says why a node cannot be asked, or "".
func awayWhy(n *api.Node) string {
	switch {
	case n.Status.State != api.NodeReady:
		return "node " + n.Hostname() + " is " + cmp.Or(string(n.Status.State), "unknown")
	case n.Status.SessionLost:
		return "node " + n.Hostname() + " is not heard"
	}
	return ""
}

// measure asks the engines for the sizes of volumes, all at once. One that does
// not answer leaves them unknown.
func (a *API) measure(ctx context.Context, list []api.VolumeCopy) {
	nodes := map[api.NodeID]bool{}
	for i := range list {
		if list[i].Away == "" {
			nodes[list[i].NodeID] = true
		}
	}
	sizes := map[api.NodeID]map[string]int64{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for node := range nodes {
		all.Go(func() {
			got := a.sizesOn(ctx, node)
			mu.Lock()
			defer mu.Unlock()
			sizes[node] = got
		})
	}
	all.Wait()
	for i := range list {
		if n, ok := sizes[list[i].NodeID][list[i].Name]; ok {
			list[i].Size = n
		}
	}
}

func (a *API) sizesOn(ctx context.Context, node api.NodeID) map[string]int64 {
	var usage types.DiskUsage
	if err := a.askEngineOf(ctx, node, http.MethodGet, "/v1.42/system/df?type=volume", &usage); err != nil {
		a.cfg.Log.Debug("sizes of volumes are not known", "node", node, "err", err)
		return nil
	}
	sizes := map[string]int64{}
	for _, v := range usage.Volumes {
		if v != nil && v.UsageData != nil {
			sizes[v.Name] = v.UsageData.Size
		}
	}
	return sizes
}

// askEngineOf has the engine of a node answer a request without a body; answer
// may be nil.
func (a *API) askEngineOf(ctx context.Context, node api.NodeID, method, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	transport := newTransport(func(ctx context.Context) (net.Conn, error) { return a.cfg.Tunnel.Engine(ctx, node) })
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		return api.Errorf(api.CodeUnavailable, "the engine of the node is out of reach: %v", err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	told := json.NewDecoder(io.LimitReader(res.Body, maxBody))
	if res.StatusCode < 300 {
		if answer == nil {
			return nil
		}
		return told.Decode(answer)
	}
	var said struct{ Message string }
	if told.Decode(&said) != nil || said.Message == "" {
		said.Message = res.Status
	}
	if res.StatusCode == http.StatusNotFound {
		return api.Errorf(api.CodeNotFound, "%s", said.Message)
	}
	return errors.New(said.Message)
}

// volumeDelete removes the copies of a volume, on one node or on all. All must be
// free before the first goes. What is on a node that is away is, with force, given up.
func (a *API) volumeDelete(w http.ResponseWriter, r *http.Request) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	name, force := r.PathValue("id"), r.URL.Query().Get("force") != ""
	list, err := copiesNamed(view, name, r.URL.Query().Get("node"))
	if err != nil {
		return err
	}
	for i := range list {
		if err := mayRemove(&list[i], force); err != nil {
			return err
		}
	}
	done := []string{}
	for i := range list {
		if err := a.removeCopy(r, &list[i], force); err != nil {
			return api.Errorf(api.CodeConflict, "volume %s on node %s: %v", name, list[i].Hostname, err)
		}
		done = append(done, list[i].Hostname)
	}
	return writeJSON(w, http.StatusOK, done)
}

// copiesNamed are the copies of a volume on a node, or on all where none is named.
func copiesNamed(view *state.View, name, node string) ([]api.VolumeCopy, error) {
	list := slices.DeleteFunc(copiesOf(view), func(c api.VolumeCopy) bool { return c.Name != name })
	if node == "" {
		if len(list) == 0 {
			return nil, noVolume(name)
		}
		return list, nil
	}
	n, err := view.FindNode(node)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(c api.VolumeCopy) bool { return c.NodeID != n.ID })
	if len(list) == 0 {
		return nil, api.Errorf(api.CodeNotFound, "node %s has no volume %s: `swarmctl volume ls` says who has", n.Hostname(), name)
	}
	return list, nil
}

func mayRemove(c *api.VolumeCopy, force bool) error {
	switch {
	case c.Move.UnderWay():
		return api.Errorf(api.CodeConflict, "volume %s is being moved: wait for the end of that: `swarmctl volume ls` shows it", c.Name)
	case c.Away != "" && !force:
		return api.Errorf(api.CodeConflict, "volume %s: %s: --force gives its copy up: its tasks may start elsewhere, without what is in it", c.Name, c.Away)
	case c.Away != "":
		return nil
	case len(c.Tasks) > 0:
		return api.Errorf(api.CodeConflict, "volume %s is in use on node %s by %s: scale its service down or remove it first", c.Name, c.Hostname, strings.Join(c.Tasks, ", "))
	}
	return nil
}

func (a *API) removeCopy(r *http.Request, c *api.VolumeCopy, force bool) error {
	if c.Away != "" {
		return a.propose(r, state.Op{ForgetVolume: &state.ForgetVolume{Node: c.NodeID, Name: c.Name, GiveUp: true}})
	}
	path := "/volumes/" + url.PathEscape(c.Name)
	if force {
		path += "?force=1"
	}
	if err := a.askEngineOf(r.Context(), c.NodeID, http.MethodDelete, path, nil); err != nil && !errors.Is(err, api.ErrNotFound) {
		return err
	}
	return a.propose(r, state.Op{ForgetVolume: &state.ForgetVolume{Node: c.NodeID, Name: c.Name}})
}
