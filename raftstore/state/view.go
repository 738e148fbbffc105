package state

import (
	"iter"
	"slices"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/swarmctl/swarmctl/api"
)

// View is the whole state at one moment. It never changes, costs nothing to
// keep but the memory of what has changed since, and may be read by many
// goroutines at once. The objects it hands out are shared: copy before changing.
type View struct {
	txn   *memdb.Txn
	index uint64
	db    *memdb.MemDB // what txn reads, for Rehearse; nil within a command
}

func newView(db *memdb.MemDB, index uint64) *View {
	now := db.Snapshot()
	return &View{txn: now.Txn(false), index: index, db: now}
}

// Index is the index of the last log entry that the view has seen.
func (v *View) Index() uint64 { return v.index }

// Cluster returns the cluster object, or nil before there is one.
func (v *View) Cluster() *api.Cluster { return first[api.Cluster](v, tableCluster, byID, []byte{0}) }

// Node returns the node, or nil.
func (v *View) Node(id api.NodeID) *api.Node { return first[api.Node](v, tableNodes, byID, key(id)) }

// Nodes yields all nodes in the order of their IDs.
func (v *View) Nodes() iter.Seq[*api.Node] { return all[api.Node](v, tableNodes, byID) }

// Service returns the service, or nil.
func (v *View) Service(id api.ServiceID) *api.Service {
	return first[api.Service](v, tableServices, byID, key(id))
}

// ServiceByName returns the service of that name, or nil.
func (v *View) ServiceByName(name string) *api.Service {
	return first[api.Service](v, tableServices, byName, key(name))
}

// Services yields all services in the order of their names.
func (v *View) Services() iter.Seq[*api.Service] { return all[api.Service](v, tableServices, byName) }

// SpecVersion returns the spec of a service as tasks of that version see it,
// or nil. It outlives the service for as long as tasks refer to it.
func (v *View) SpecVersion(id api.ServiceID, version uint64) *api.SpecVersion {
	return first[api.SpecVersion](v, tableSpecs, byID, specKey(id, version))
}

// SpecOf returns the spec that the task runs; every task in the store has one.
func (v *View) SpecOf(t *api.Task) *api.SpecVersion { return v.SpecVersion(t.ServiceID, t.SpecVersion) }

// Task returns the task, or nil.
func (v *View) Task(id api.TaskID) *api.Task { return first[api.Task](v, tableTasks, byID, key(id)) }

// Tasks yields all tasks in the order of their IDs.
func (v *View) Tasks() iter.Seq[*api.Task] { return all[api.Task](v, tableTasks, byID) }

// ServiceTasks yields the tasks of a service, those of a removed one included.
func (v *View) ServiceTasks(id api.ServiceID) iter.Seq[*api.Task] {
	return where[api.Task](v, tableTasks, byService, key(id))
}

// SlotTasks yields the tasks, present and past, of one slot of a service.
func (v *View) SlotTasks(id api.ServiceID, slot int) iter.Seq[*api.Task] {
	return where[api.Task](v, tableTasks, bySlot, slotKey(id, slot))
}

// NodeTasks yields the tasks that are, or were, placed on a node.
func (v *View) NodeTasks(id api.NodeID) iter.Seq[*api.Task] {
	return where[api.Task](v, tableTasks, byNode, key(id))
}

// WaitingTasks yields the tasks that wait for the scheduler, grouped by service.
func (v *View) WaitingTasks() iter.Seq[*api.Task] { return all[api.Task](v, tableTasks, byWaiting) }

// Secret returns the secret, also one that has been superseded, or nil.
func (v *View) Secret(id api.SecretID) *api.Secret {
	return first[api.Secret](v, tableSecrets, byID, key(id))
}

// Secrets yields all secrets in the order of their names: of each name the
// version that has it.
func (v *View) Secrets() iter.Seq[*api.Secret] { return all[api.Secret](v, tableSecrets, byName) }

// SecretVersions yields all secrets in the order of their names, those that have
// been superseded included.
func (v *View) SecretVersions() iter.Seq[*api.Secret] {
	return all[api.Secret](v, tableSecrets, byLine)
}

// Config returns the config, also one that has been superseded, or nil.
func (v *View) Config(id api.ConfigID) *api.Config {
	return first[api.Config](v, tableConfigs, byID, key(id))
}

// SecretByName returns the secret of that name, or nil.
func (v *View) SecretByName(name string) *api.Secret {
	return first[api.Secret](v, tableSecrets, byName, key(name))
}

// ConfigByName returns the config of that name, or nil.
func (v *View) ConfigByName(name string) *api.Config {
	return first[api.Config](v, tableConfigs, byName, key(name))
}

// Configs yields all configs in the order of their names, as Secrets does.
func (v *View) Configs() iter.Seq[*api.Config] { return all[api.Config](v, tableConfigs, byName) }

// ConfigVersions is as SecretVersions.
func (v *View) ConfigVersions() iter.Seq[*api.Config] {
	return all[api.Config](v, tableConfigs, byLine)
}

// Network returns the network, or nil.
func (v *View) Network(id api.NetworkID) *api.Network {
	return first[api.Network](v, tableNetworks, byID, key(id))
}

// NetworkByName returns the network of that name, or nil.
func (v *View) NetworkByName(name string) *api.Network {
	return first[api.Network](v, tableNetworks, byName, key(name))
}

// Networks yields all networks in the order of their names.
func (v *View) Networks() iter.Seq[*api.Network] { return all[api.Network](v, tableNetworks, byName) }

// FindNode returns the node that ref names: an ID, a hostname, or the
// beginning of an ID, in that order of precedence, as Docker's CLI has it.
// Errors: not found; ambiguous, with the number of matches.
func (v *View) FindNode(ref string) (*api.Node, error) {
	if n := v.Node(api.NodeID(ref)); n != nil {
		return n, nil
	}
	var named, prefixed []*api.Node
	for n := range v.Nodes() {
		if n.Description.Hostname == ref {
			named = append(named, n)
		}
		if strings.HasPrefix(string(n.ID), ref) {
			prefixed = append(prefixed, n)
		}
	}
	return pick("node", ref, named, prefixed)
}

// FindService returns the service that ref names: an ID, a name, or the
// beginning of an ID. Errors: as FindNode.
func (v *View) FindService(ref string) (*api.Service, error) {
	return find[api.Service](v, tableServices, "service", ref)
}

// FindSecret returns the secret that ref names, as FindService does. One that
// has been superseded is found by its ID, or the beginning of it, alone.
func (v *View) FindSecret(ref string) (*api.Secret, error) {
	return find[api.Secret](v, tableSecrets, "secret", ref)
}

// FindConfig returns the config that ref names, as FindService does.
func (v *View) FindConfig(ref string) (*api.Config, error) {
	return find[api.Config](v, tableConfigs, "config", ref)
}

// FindNetwork returns the network that ref names, as FindService does.
func (v *View) FindNetwork(ref string) (*api.Network, error) {
	return find[api.Network](v, tableNetworks, "network", ref)
}

// FindTask returns the task that ref names: an ID or the beginning of one, or
// a task's full name. Errors: as FindNode.
func (v *View) FindTask(ref string) (*api.Task, error) {
	if t := v.Task(api.TaskID(ref)); t != nil {
		return t, nil
	}
	if i := strings.LastIndexByte(ref, '.'); i >= 0 {
		if t := v.Task(api.TaskID(ref[i+1:])); t != nil && v.TaskName(t) == ref {
			return t, nil
		}
	}
	var prefixed []*api.Task
	for t := range where[api.Task](v, tableTasks, byID+"_prefix", []byte(ref)) {
		prefixed = append(prefixed, t)
	}
	return pick("task", ref, nil, prefixed)
}

// TaskName is the full name of a task: web.1.<id>.
func (v *View) TaskName(t *api.Task) string {
	if s := v.Service(t.ServiceID); s != nil {
		return api.TaskName(&s.Spec, t)
	}
	if s := v.SpecOf(t); s != nil {
		return api.TaskName(&s.Spec, t)
	}
	spec := api.ServiceSpec{}
	spec.Name = string(t.ServiceID)
	return api.TaskName(&spec, t)
}

// find looks in a table that has names: ref is an ID, a name, or the beginning of an ID.
func find[T any](v *View, table, kind, ref string) (*T, error) {
	for _, index := range []string{byID, byName} {
		if obj := first[T](v, table, index, key(ref)); obj != nil {
			return obj, nil
		}
	}
	return pick(kind, ref, nil, slices.Collect(where[T](v, table, byID+"_prefix", []byte(ref))))
}

func pick[T any](kind, ref string, named, prefixed []*T) (*T, error) {
	found := named
	if len(found) == 0 && ref != "" {
		found = prefixed
	}
	switch len(found) {
	case 0:
		return nil, api.Errorf(api.CodeNotFound, "%s %s not found", kind, ref)
	case 1:
		return found[0], nil
	}
	return nil, api.Errorf(api.CodeInvalid, "%s %s is ambiguous (%d matches found): give more of the ID", kind, ref, len(found))
}

// first returns the one object under a key. Errors of go-memdb mean a wrong
// table or index name here, that is, a contradiction in this package.
func first[T any](v *View, table, index string, k []byte) *T {
	obj, err := v.txn.First(table, index, k)
	if err != nil {
		panic(err)
	}
	if obj == nil {
		return nil
	}
	return obj.(*T)
}

func where[T any](v *View, table, index string, k []byte) iter.Seq[*T] {
	return iterate[T](v.txn, table, index, k)
}

// all yields a whole index; a prefix scan with an empty key is how go-memdb spells it.
func all[T any](v *View, table, index string) iter.Seq[*T] {
	return iterate[T](v.txn, table, index+"_prefix", []byte{})
}

func iterate[T any](txn *memdb.Txn, table, index string, k []byte) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		it, err := txn.Get(table, index, k)
		if err != nil {
			panic(err)
		}
		for obj := it.Next(); obj != nil; obj = it.Next() {
			if !yield(obj.(*T)) {
				return
			}
		}
	}
}
