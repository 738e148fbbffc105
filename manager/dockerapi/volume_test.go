package dockerapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/volume"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// volumeEngine has volumes, one of which a container of nobody's uses.
type volumeEngine struct{ asked []string }

func (e *volumeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.asked = append(e.asked, r.Method+" "+r.URL.RequestURI())
	switch {
	case strings.HasSuffix(r.URL.Path, "/system/df"):
		_ = json.NewEncoder(w).Encode(types.DiskUsage{Volumes: []*volume.Volume{{Name: "db", UsageData: &volume.UsageData{Size: 42}}}})
	case strings.HasSuffix(r.URL.Path, "/busy"):
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"message":"remove busy: volume is in use - [c1]"}`)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// withVolumes has a task that uses db on h1, and copies on h2, which is down.
func withVolumes(t *testing.T) (*cluster, *volumeEngine) {
	e := &volumeEngine{}
	c := start(t, e)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	c.addNode("node2", "h2", swarm.NodeRoleWorker, api.NodeDown)
	has := func(id api.NodeID, names ...string) {
		list := []api.Volume{}
		for _, name := range names {
			list = append(list, api.Volume{Name: name, Driver: "local"})
		}
		c.apply(state.Op{ObserveNode: &state.ObserveNode{ID: id, Volumes: &list}})
	}
	has("node1", "busy", "db", "free")
	has("node2", "db", "lost")
	spec := serviceSpec("db")
	spec.TaskTemplate.ContainerSpec.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: "db", Target: "/data"}, {Type: mount.TypeVolume, Source: "own-{{.Task.Slot}}", Target: "/own"}}
	s := c.create(spec)
	c.addTask("t1", s, 1, "node1", running("c1"))
	c.addTask("t2", s, 2, "node1", api.TaskStatus{State: api.TaskFailed})
	return c, e
}

func (c *cluster) copies(path string) (out []string) {
	c.Helper()
	var list []api.VolumeCopy
	c.ask(path, &list)
	for _, v := range list {
		text := v.Hostname + " " + v.Name
		if v.Away != "" {
			text += " (" + v.Away + ")"
		}
		if v.GivenUp {
			text += " given up"
		}
		if !v.Reported {
			text += " not told"
		}
		if len(v.Tasks) > 0 {
			text += " used by " + strings.Join(v.Tasks, " ")
		}
		if v.Size >= 0 {
			text += " large"
		}
		out = append(out, text)
	}
	return out
}

// remove returns the error's message, or the nodes that it was removed from.
func (c *cluster) remove(path string) string {
	c.Helper()
	req, err := http.NewRequest(http.MethodDelete, c.url+"/swarmctl/volumes/"+path, nil)
	c.must(err)
	res, err := http.DefaultClient.Do(req)
	c.must(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	c.must(err)
	return strings.TrimSpace(string(body))
}

func TestVolumesOfAllNodesAreListed(t *testing.T) {
	c, _ := withVolumes(t)
	want := []string{"h1 busy", "h1 db used by db.1.t1 large", "h2 db (node h2 is down)", "h1 free", "h2 lost (node h2 is down)", "h1 own-1 not told used by db.1.t1"}
	if got := c.copies("/swarmctl/volumes?size=1"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for filter, want := range map[string]string{
		`{"node":["h2"]}`: "h2 db (node h2 is down), h2 lost (node h2 is down)", `{"name":["re"]}`: "h1 free", `{"driver":["nfs"]}`: "",
		`{"dangling":["true"]}`: "h1 busy, h2 db (node h2 is down), h1 free, h2 lost (node h2 is down)", `{"label":["none"]}`: "",
		`{"dangling":["0"],"node":["h1"]}`: "h1 db used by db.1.t1, h1 own-1 not told used by db.1.t1",
	} {
		if got := strings.Join(c.copies("/swarmctl/volumes?filters="+url.QueryEscape(filter)), ", "); got != want {
			t.Errorf("%s: got  %q\nwant %q", filter, got, want)
		}
	}
	for filter, want := range map[string]string{
		`{"dangling":["perhaps"]}`: "invalid dangling filter", `{"size":["1"]}`: "invalid filter 'size': use one of dangling, driver, label, name, node",
	} {
		if got := c.get("/swarmctl/volumes?filters=" + url.QueryEscape(filter)); !strings.Contains(got, want) {
			t.Errorf("%s: got %q", filter, got)
		}
	}
	if got := c.copies("/swarmctl/volumes/db"); !slices.Equal(got, []string{"h1 db used by db.1.t1", "h2 db (node h2 is down)"}) {
		t.Errorf("got %q", got)
	}
	if got := c.get("/swarmctl/volumes/none"); !strings.Contains(got, "volume none not found") {
		t.Errorf("got %q", got)
	}
}

func TestAVolumeIsRemovedWhereNobodyUsesIt(t *testing.T) {
	c, e := withVolumes(t)
	for _, step := range []struct{ path, want string }{
		{"db?node=h1", `{"message":"volume db is in use on node h1 by db.1.t1: scale its service down or remove it first"}`},
		{"db?force=1", `{"message":"volume db is in use on node h1 by db.1.t1: scale its service down or remove it first"}`},
		{"db", `{"message":"volume db is in use on node h1 by db.1.t1: scale its service down or remove it first"}`},
		{"lost", `{"message":"volume lost: node h2 is down: --force gives its copy up: its tasks may start elsewhere, without what is in it"}`},
		{"lost?node=h1", "{\"message\":\"node h1 has no volume lost: `swarmctl volume ls` says who has\"}"},
		{"busy", `{"message":"volume busy on node h1: remove busy: volume is in use - [c1]"}`},
		{"none", "{\"message\":\"volume none not found: no node has told of one: `swarmctl volume ls` lists them\"}"},
		{"free", `["h1"]`},
		{"lost?force=1", `["h2"]`},
		{"db?force=1&node=h2", `["h2"]`},
	} {
		if got := c.remove(step.path); got != step.want {
			t.Errorf("rm %s:\n got %s\nwant %s", step.path, got, step.want)
		}
	}
	if want := []string{"DELETE /volumes/busy", "DELETE /volumes/free"}; !slices.Equal(e.asked, want) {
		t.Errorf("the engine was asked %q", e.asked)
	}
	want := []string{"h1 busy", "h1 db used by db.1.t1", "h2 db (node h2 is down) given up", "h2 lost (node h2 is down) given up", "h1 own-1 not told used by db.1.t1"}
	if got := c.copies("/swarmctl/volumes"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
