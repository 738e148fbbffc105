package cli

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/swarmctl/swarmctl/api"
)

// copies are the volumes of a cluster in which one node is down.
func copies() []api.VolumeCopy {
	return []api.VolumeCopy{
		{Volume: api.Volume{Name: "cache", Driver: "local", Labels: map[string]string{"swarmctl.volume.pin": "false"}}, NodeID: "n1", Hostname: "h1", Reported: true, Size: -1},
		{Volume: api.Volume{Name: "share", Driver: "local", Options: map[string]string{"type": "cifs", "o": "username=a,password=***"}}, NodeID: "n1", Hostname: "h1", Reported: true, Tasks: []string{"web.1.abc", "web.2.def"}, Size: -1},
		{Volume: api.Volume{Name: "shop_db", Driver: "local", CreatedAt: "2026-03-04T05:06:07Z"}, NodeID: "n3", Hostname: "h3", Reported: true, Pins: true, Away: "node h3 is down", Tasks: []string{"shop_db.1.abc"}, Size: -1},
		{Volume: api.Volume{Name: "shop_db", Driver: "local", GivenUp: true}, NodeID: "n1", Hostname: "h1", Reported: true, Size: -1},
		{Volume: api.Volume{Name: "young", Driver: "local"}, NodeID: "n1", Hostname: "h1", Pins: true, Tasks: []string{"young.1.abc"}, Size: -1},
	}
}

func (w *world) serveVolumes(rw http.ResponseWriter, r *http.Request, path []string) {
	f := filterOf(r)
	list := slices.DeleteFunc(copies(), func(c api.VolumeCopy) bool { return !f.ExactMatch("node", c.Hostname) || !f.Match("name", c.Name) })
	if len(path) == 2 && path[1] == "move" {
		w.beginMove(rw, path[0], r.URL.Query())
		return
	}
	if len(path) == 1 && w.move != nil {
		answer(rw, w.movesOn(path[0]))
		return
	}
	if r.URL.Query().Get("size") != "" {
		list[0].Size = 5 << 20
	}
	if len(path) == 0 {
		answer(rw, list)
		return
	}
	list = slices.DeleteFunc(list, func(c api.VolumeCopy) bool { return c.Name != path[0] })
	switch q := r.URL.Query(); {
	case len(list) == 0:
		fail(rw, 404, "volume %s not found: no node has told of one: `swarmctl volume ls` lists them", path[0])
	case r.Method == http.MethodGet:
		answer(rw, list)
	case path[0] == "shop_db" && q.Get("force") == "":
		fail(rw, 409, "volume shop_db: node h3 is down: --force gives its copy up: its tasks may start elsewhere, without what is in it")
	default:
		answer(rw, []string{q.Get("node")})
	}
}

// beginMove begins a move from h1 to h2, which comes on with every look.
func (w *world) beginMove(rw http.ResponseWriter, name string, q url.Values) {
	if name == "share" && q.Get("force") == "" {
		fail(rw, 409, "service web uses volume share and cannot run on node %s: constraint node.role==manager: its role is worker: change its constraints or the node's labels, or give --force and its tasks wait", q.Get("to"))
		return
	}
	w.move, w.looks = &api.VolumeMove{ID: "m1", From: "n1", To: "n2"}, 0
	answer(rw, w.move)
}

func (w *world) movesOn(name string) []api.VolumeCopy {
	w.looks++
	m := *w.move
	from := api.VolumeCopy{Volume: api.Volume{Name: name, Move: &m}, NodeID: "n1", Hostname: "h1", Reported: true}
	to := api.VolumeCopy{Volume: api.Volume{Name: name, Move: &m}, NodeID: "n2", Hostname: "h2", Reported: true}
	switch {
	case w.looks == 1:
		from.Progress = &api.MoveProgress{Step: "stopping the tasks that use it"}
	case w.looks == 2:
		from.Progress = &api.MoveProgress{Step: "copying", Done: 1e6, Size: 4e6}
	case name == "cache":
		m.Err, w.move = "node h2: empty: no space left on device", nil
		return []api.VolumeCopy{from}
	case w.looks == 3:
		m.Left, to.Move = true, nil
	default:
		to.Move, w.move = nil, nil
		return []api.VolumeCopy{to}
	}
	return []api.VolumeCopy{from, to}
}
