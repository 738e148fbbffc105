package dockerapi

import (
	"cmp"
	"encoding/json"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// taskRows writes tasks for a list. Nearly all of a task's JSON is the spec
// that it shares with the other tasks of its service, so that is encoded once a
// version; and what is left is written by hand, since it is written 30,000 times.
type taskRows struct {
	view     *state.View
	now      time.Time
	specs    map[specKey]taskSpec
	networks map[api.NetworkID]json.RawMessage // as tasks show them
	ports    *portTroubles
}

type specKey struct {
	service api.ServiceID
	version uint64
}

type taskSpec struct {
	spec *api.SpecVersion
	json []byte // as tasks show it
	note string // what a canary makes of its tasks
}

func newTaskRows(view *state.View, now time.Time) *taskRows {
	return &taskRows{view: view, now: now, specs: map[specKey]taskSpec{}, networks: map[api.NetworkID]json.RawMessage{}, ports: newPortTroubles(view)}
}

func (r *taskRows) append(b []byte, t *api.Task) ([]byte, error) {
	key := specKey{t.ServiceID, t.SpecVersion}
	s, known := r.specs[key]
	if !known {
		s.spec, s.note = r.view.SpecOf(t), canaryNote(r.view, t)
	}
	row := projectTaskOf(s.spec, t)
	row.Status.Err = cmp.Or(row.Status.Err, downNote(r.view, t, r.now), r.ports.of(t), noteOf(t, s.note))
	if !known {
		var err error
		if s.json, err = json.Marshal(row.Spec); err != nil {
			return b, err
		}
		r.specs[key] = s
	}
	networks, err := r.attachments(t)
	if err != nil {
		return b, err
	}
	return appendTask(b, &row, s.json, networks)
}

// attachments is what json.Marshal makes of the networks of a task; nil where
// it has none. What a network says of itself is the same in every task.
func (r *taskRows) attachments(t *api.Task) ([]byte, error) {
	if len(t.Networks) == 0 {
		return nil, nil
	}
	type attachment struct {
		Network   json.RawMessage `json:",omitempty"`
		Addresses []string        `json:",omitempty"`
	}
	var out []attachment
	for _, at := range ingressFirst(r.view, t.Networks) {
		n := r.view.Network(at.Network)
		shown := r.networks[at.Network]
		if shown == nil {
			var err error
			if shown, err = json.Marshal(projectAttachments(r.view, []api.Attachment{at})[0].Network); err != nil {
				return nil, err
			}
			r.networks[at.Network] = shown
		}
		out = append(out, attachment{shown, addresses(n, at.Addrs)})
	}
	return json.Marshal(out)
}

// appendTask appends what json.Marshal makes of a task, byte for byte, given
// what it makes of the task's spec and, unless that is empty, of its networks.
func appendTask(b []byte, t *swarm.Task, spec, networks []byte) ([]byte, error) {
	j := jsonText{b: append(b, '{')}
	j.name("ID").text(t.ID)
	j.name("Version").open()
	j.number("Index", t.Version.Index)
	j.close()
	j.name("CreatedAt").time(t.CreatedAt)
	j.name("UpdatedAt").time(t.UpdatedAt)
	j.string("Name", t.Name)
	if t.Labels != nil && len(t.Labels) == 0 {
		j.name("Labels").open().close()
	} else {
		j.name("Labels").any(t.Labels)
	}
	j.name("Spec").raw(spec)
	j.string("ServiceID", t.ServiceID)
	if t.Slot != 0 {
		j.name("Slot").int(t.Slot)
	}
	j.string("NodeID", t.NodeID)
	j.name("Status").status(&t.Status)
	j.string("DesiredState", string(t.DesiredState))
	if len(networks) > 0 {
		j.name("NetworksAttachments").raw(networks)
	}
	if len(t.GenericResources) > 0 {
		j.name("GenericResources").any(t.GenericResources)
	}
	if t.JobIteration != nil {
		j.name("JobIteration").open()
		j.number("Index", t.JobIteration.Index)
		j.close()
	}
	if t.Volumes == nil {
		j.name("Volumes").raw([]byte("null"))
	} else {
		j.name("Volumes").any(t.Volumes)
	}
	j.close()
	return j.b, j.err
}

func (j *jsonText) status(s *swarm.TaskStatus) {
	j.open()
	j.name("Timestamp").time(s.Timestamp)
	j.string("State", string(s.State))
	j.string("Message", s.Message)
	j.string("Err", s.Err)
	if c := s.ContainerStatus; c != nil {
		j.name("ContainerStatus").open()
		j.name("ContainerID").text(c.ContainerID)
		j.name("PID").int(c.PID)
		j.name("ExitCode").int(c.ExitCode)
		j.close()
	}
	j.name("PortStatus").open()
	if len(s.PortStatus.Ports) > 0 {
		j.name("Ports").any(s.PortStatus.Ports)
	}
	j.close()
	j.close()
}

// jsonText is JSON as encoding/json writes it, on its way.
type jsonText struct {
	b   []byte
	err error // the first
}

func (j *jsonText) open() *jsonText { j.b = append(j.b, '{'); return j }
func (j *jsonText) close()          { j.b = append(j.b, '}') }
func (j *jsonText) raw(data []byte) { j.b = append(j.b, data...) }
func (j *jsonText) int(n int)       { j.b = strconv.AppendInt(j.b, int64(n), 10) }

// name begins a field of the object that is open.
func (j *jsonText) name(name string) *jsonText {
	if j.b[len(j.b)-1] != '{' {
		j.b = append(j.b, ',')
	}
	j.b = append(append(append(j.b, '"'), name...), `":`...)
	return j
}

// string is a field that is left out while it is empty, and number one that is
// left out while it is 0.
func (j *jsonText) string(name, s string) {
	if s != "" {
		j.name(name).text(s)
	}
}

func (j *jsonText) number(name string, n uint64) {
	if n != 0 {
		j.name(name)
		j.b = strconv.AppendUint(j.b, n, 10)
	}
}

func (j *jsonText) text(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			j.any(s) // encoding/json knows how to escape it
			return
		}
	}
	j.b = append(append(append(j.b, '"'), s...), '"')
}

func (j *jsonText) time(t time.Time) {
	b, err := t.AppendText(append(j.b, '"'))
	j.keep(err)
	j.b = append(b, '"')
}

func (j *jsonText) any(v any) {
	data, err := json.Marshal(v)
	j.keep(err)
	j.b = append(j.b, data...)
}

func (j *jsonText) keep(err error) {
	if j.err == nil {
		j.err = err
	}
}
