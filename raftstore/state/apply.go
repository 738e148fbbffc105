package state

import (
	"slices"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"

	"github.com/swarmctl/swarmctl/api"
)

// State is the current state and the feed of its changes. One goroutine
// applies; any number read. NB: Apply and Restore must not run at once.
type State struct {
	db      *memdb.MemDB
	current atomic.Pointer[View]
	feed    *feed
}

// New returns an empty state.
func New() *State {
	s := &State{db: must(memdb.NewMemDB(schema))}
	s.current.Store(newView(s.db, 0))
	s.feed = newFeed(s.current.Load())
	return s
}

// View returns the state as it is now, without waiting for anything.
func (s *State) View() *View { return s.current.Load() }

// Apply carries out the commands of one log entry and tells the feed. It
// returns one result a command.
func (s *State) Apply(index uint64, commands []Command) []Result {
	results := make([]Result, len(commands))
	event := &Event{Index: index}
	for i, cmd := range commands {
		results[i] = s.applyOne(index, cmd, event)
	}
	view := newView(s.db, index)
	s.current.Store(view)
	event.View = view
	stale := func(r Result) bool { return len(r.Stale) > 0 }
	if !event.empty() || slices.ContainsFunc(results, stale) { // whoever proposed what is stale waits for its index
		s.feed.publish(event)
	}
	return results
}

func (s *State) applyOne(index uint64, cmd Command, event *Event) Result {
	tx := &tx{txn: s.db.Txn(true), index: index, at: cmd.At}
	defer tx.txn.Abort() // does nothing once committed
	if err := tx.carryOut(cmd); err != nil {
		return Result{Index: index, Code: api.CodeOf(err), Message: err.Error()}
	}
	tx.txn.Commit()
	event.add(tx)
	return Result{Index: index, Stale: tx.stale}
}

// Rehearse says what would become of a command if it were the next one after this
// view: the error is that of its Result. Nothing is changed.
func (v *View) Rehearse(cmd Command) error {
	tx := &tx{txn: v.db.Txn(true), index: v.index + 1, at: cmd.At}
	defer tx.txn.Abort()
	return tx.carryOut(cmd)
}

func (x *tx) carryOut(cmd Command) error {
	for _, op := range cmd.Ops {
		if err := x.apply(op); err != nil {
			return err
		}
	}
	x.forgetStacks()
	x.collectContents()
	x.storeSpaces()
	return nil
}

func (x *tx) apply(op Op) error {
	switch {
	case op.PutCluster != nil:
		return x.putCluster(op.PutCluster)
	case op.PutNode != nil:
		return x.putNode(op.PutNode)
	case op.ObserveNode != nil:
		x.observeNode(op.ObserveNode)
	case op.DeleteNode != nil:
		return x.deleteNode(op.DeleteNode)
	case op.PutService != nil:
		return x.putService(op.PutService)
	case op.SetUpdateStatus != nil:
		x.setUpdateStatus(op.SetUpdateStatus)
	case op.DeleteService != nil:
		return x.deleteService(op.DeleteService.ID)
	case op.CreateTasks != nil:
		return x.createTasks(op.CreateTasks)
	case op.AssignTasks != nil:
		x.assignTasks(op.AssignTasks)
	case op.DesireTasks != nil:
		x.desireTasks(op.DesireTasks)
	case op.ReportTasks != nil:
		x.reportTasks(op.ReportTasks)
	case op.DeleteTasks != nil:
		x.deleteTasks(op.DeleteTasks)
	case op.PutSecret != nil:
		return secrets.put(x, op.PutSecret)
	case op.DeleteSecret != nil:
		return secrets.remove(x, string(op.DeleteSecret.ID))
	case op.PutConfig != nil:
		return configs.put(x, op.PutConfig)
	case op.DeleteConfig != nil:
		return configs.remove(x, string(op.DeleteConfig.ID))
	case op.CreateNetwork != nil:
		return x.createNetwork(op.CreateNetwork)
	case op.DeleteNetwork != nil:
		return x.deleteNetwork(op.DeleteNetwork.ID)
	case op.PutAttached != nil:
		return x.putAttached(op.PutAttached)
	case op.DeleteAttached != nil:
		return x.deleteAttached(op.DeleteAttached.ID)
	case op.PutVersion != nil && op.PutVersion.Secret != nil:
		return secrets.supersede(x, op.PutVersion.Secret, op.PutVersion.Except)
	case op.PutVersion != nil && op.PutVersion.Config != nil:
		return configs.supersede(x, op.PutVersion.Config, op.PutVersion.Except)
	case op.RecordDeploy != nil:
		return x.recordDeploy(op.RecordDeploy)
	case op.PutRegistry != nil:
		x.putRegistry(op.PutRegistry)
	case op.DeleteRegistry != nil:
		return x.deleteRegistry(op.DeleteRegistry.Host)
	case op.ForgetVolume != nil:
		return x.forgetVolume(op.ForgetVolume)
	case op.BeginMove != nil:
		return x.beginMove(op.BeginMove)
	case op.EndMove != nil:
		return x.endMove(op.EndMove)
	default:
		return api.Errorf(api.CodeInvalid, "command has an operation this program does not know: upgrade it")
	}
	return nil
}

func (x *tx) putCluster(c *api.Cluster) error {
	old := x.view().Cluster()
	if err := x.checkVersion("cluster", "", version(old, func(c *api.Cluster) api.Meta { return c.Meta }), c.Meta); err != nil {
		return err
	}
	next := *c
	next.Meta = x.meta(old != nil, c.Meta)
	if old != nil {
		next.Meta.CreatedAt = old.Meta.CreatedAt
	}
	x.put(tableCluster, &next)
	x.cluster = true
	return nil
}

func (x *tx) putNode(n *api.Node) error {
	old := x.view().Node(n.ID)
	if err := x.checkVersion("node", string(n.ID), version(old, func(n *api.Node) api.Meta { return n.Meta }), n.Meta); err != nil {
		return err
	}
	next := *n
	next.Meta = x.meta(old != nil, n.Meta)
	if old != nil {
		next.Load, next.Volumes = old.Load, old.Volumes // no version speaks of them
	}
	x.putNodeRow(old, &next)
	return nil
}

func (x *tx) observeNode(o *ObserveNode) {
	old := x.view().Node(o.ID)
	if old == nil || o.IfSession != "" && o.IfSession != old.Status.Session {
		x.stale = append(x.stale, string(o.ID))
		return
	}
	next := *old
	if o.Status != nil {
		next.Status = *o.Status
	}
	if o.Settled != nil {
		next.Status.Unsettled = !*o.Settled
	}
	if o.SessionLost != nil {
		next.Status.SessionLost = *o.SessionLost
	}
	if o.Verdict != nil {
		next.Status.State, next.Status.Message, next.Status.DaemonGone = o.Verdict.State, o.Verdict.Message, o.Verdict.DaemonGone
	}
	if o.Description != nil {
		next.Description = *o.Description
	}
	if o.Routes != nil {
		next.Routes = *o.Routes
	}
	if o.PortProblems != nil {
		next.PortProblems = *o.PortProblems
	}
	if o.Load != nil {
		next.Load = o.Load
	}
	if o.Volumes != nil {
		next.Volumes = merged(o.ID, old.Volumes, *o.Volumes)
	}
	if o.ManagerAddr != nil {
		next.ManagerAddr = *o.ManagerAddr
	}
	// How busy a node is changes every few seconds, its volumes with its tasks, and
	// whether it is settled with every leader: if that made it a new version, who reads
	// a node and writes it back would often be told to try again.
	if *o != (ObserveNode{ID: o.ID, IfSession: o.IfSession, Load: o.Load, Volumes: o.Volumes, Settled: o.Settled}) {
		next.Meta = x.meta(true, old.Meta)
	}
	x.putNodeRow(old, &next)
}

func (x *tx) deleteNode(d *DeleteNode) error {
	old := x.view().Node(d.ID)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "node %s not found", d.ID)
	}
	if d.Version != 0 && d.Version != old.Meta.Version.Index {
		return outdated("node", string(d.ID))
	}
	for _, t := range slices.Collect(x.view().NodeTasks(d.ID)) {
		if t.Status.State.Terminal() {
			continue
		}
		next := *t
		next.Status = api.TaskStatus{State: api.TaskOrphaned, At: x.at, Err: "its node was removed from the cluster", Container: t.Status.Container}
		next.Desired = max(next.Desired, api.TaskShutdown)
		x.putTask(t, &next)
	}
	for _, c := range slices.Collect(x.view().NodeAttached(d.ID)) {
		x.removeAttached(c)
	}
	old = x.view().Node(d.ID) // without what its tasks needed
	x.giveBack(old.Gateways, holder{node: old.ID})
	x.deleteRow(tableNodes, old)
	x.nodes = append(x.nodes, Pair[api.Node]{Before: old})
	return nil
}

func (x *tx) createTasks(tasks []*api.Task) error {
	for _, t := range tasks {
		v := x.view()
		if v.Task(t.ID) != nil {
			return api.Errorf(api.CodeConflict, "task %s exists", t.ID)
		}
		if v.SpecOf(t) == nil || v.Service(t.ServiceID) == nil || v.homeless(t) {
			x.stale = append(x.stale, string(t.ID)) // the service, or the pod, went away meanwhile
			continue
		}
		next := *t
		next.Meta, next.Networks = x.meta(false, api.Meta{}), nil
		if next.Status.At.IsZero() {
			next.Status.At = x.at
		}
		x.putTask(nil, &next)
	}
	return nil
}

func (x *tx) assignTasks(list []Assign) {
	for _, a := range list {
		t := x.view().Task(a.Task)
		if t == nil || t.Status.State != api.TaskPending || t.Desired > api.TaskComplete ||
			t.NodeID != "" && t.NodeID != a.Node || x.view().Node(a.Node) == nil || x.usesMoving(t, a.Node) {
			x.stale = append(x.stale, string(a.Task))
			continue
		}
		networks, ok := x.attach(t, a.Node)
		if !ok {
			x.stale = append(x.stale, string(a.Task))
			continue
		}
		next := *t
		next.NodeID, next.GenericResources, next.Networks = a.Node, a.Generic, networks
		next.Status = api.TaskStatus{State: api.TaskAssigned, At: x.at, Message: "scheduler assigned task to node"}
		x.putTask(t, &next)
	}
}

func (x *tx) desireTasks(list []Desire) {
	for _, d := range list {
		t := x.view().Task(d.Task)
		if t == nil || d.State <= t.Desired {
			x.stale = append(x.stale, string(d.Task))
			continue
		}
		next := *t
		next.Desired = d.State
		if next.Desired >= api.TaskShutdown && t.Status.State < api.TaskAssigned {
			// No node has heard of it, so no node will report that it ended.
			next.Status = api.TaskStatus{State: api.TaskShutdown, At: x.at, Message: "shut down before it was placed", Err: t.Status.Err}
		}
		x.putTask(t, &next)
	}
}

func (x *tx) reportTasks(list []Report) {
	for _, r := range list {
		t := x.view().Task(r.Task)
		if t == nil || r.From != "" && r.From != t.NodeID ||
			r.Status.State < t.Status.State || t.Status.State.Terminal() {
			x.stale = append(x.stale, string(r.Task))
			continue
		}
		next := *t
		next.Status = r.Status
		if next.Status.Container == nil {
			next.Status.Container = t.Status.Container
		}
		x.putTask(t, &next)
	}
}

func (x *tx) deleteTasks(ids []api.TaskID) {
	for _, id := range ids {
		t := x.view().Task(id)
		if t == nil {
			x.stale = append(x.stale, string(id))
			continue
		}
		x.releaseTask(t)
		x.deleteRow(tableTasks, t)
		x.tasks = append(x.tasks, Pair[api.Task]{Before: t})
		x.collectSpec(t.ServiceID, t.SpecVersion)
	}
}
