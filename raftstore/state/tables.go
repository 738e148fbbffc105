package state

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/go-memdb"

	"github.com/swarmctl/swarmctl/api"
)

// Table and index names. Every index is computed without reflection.
const (
	tableCluster  = "cluster"
	tableNodes    = "nodes"
	tableServices = "services"
	tableSpecs    = "specs"
	tableTasks    = "tasks"
	tableSecrets  = "secrets"
	tableConfigs  = "configs"
	tableNetworks = "networks"
	tableAttached = "attached"
	tableStacks   = "stacks"

	tableRegistries = "registries"

	// What follows is derived, or never told to anybody: see lease.go and port.go.
	tableSpaces = "spaces"
	tableLeases = "leases"
	tablePorts  = "ports"

	byID      = "id"
	byName    = "name"
	byService = "service"
	byNode    = "node"
	bySlot    = "slot"
	byWaiting = "waiting" // tasks that the scheduler has not placed yet
	byNumber  = "number"
	byIngress = "ingress" // the one network that published ports use
	byPlace   = "place"   // a node and a network
	byLine    = "line"    // all versions of a secret or a config that a name has had
)

// index computes one index entry of an object of type T. A nil key leaves the
// object out of the index.
type index[T any] func(*T) []byte

// FromObject implements memdb.SingleIndexer.
func (f index[T]) FromObject(obj any) (bool, []byte, error) {
	key := f(obj.(*T))
	return key != nil, key, nil
}

// FromArgs implements memdb.Indexer: keys are made by the functions below.
func (index[T]) FromArgs(args ...any) ([]byte, error) {
	if len(args) == 1 {
		if key, ok := args[0].([]byte); ok {
			return key, nil
		}
	}
	return nil, fmt.Errorf("state: an index takes one key, got %v", args)
}

// PrefixFromArgs implements memdb.PrefixIndexer.
func (f index[T]) PrefixFromArgs(args ...any) ([]byte, error) { return f.FromArgs(args...) }

// key ends a string with a zero byte, so that no key is a prefix of another.
func key[S ~string](s S) []byte { return append([]byte(s), 0) }

func slotKey(service api.ServiceID, slot int) []byte {
	return binary.BigEndian.AppendUint32(key(service), uint32(slot))
}

func specKey(service api.ServiceID, version uint64) []byte {
	return binary.BigEndian.AppendUint64(key(service), version)
}

func waitingKey(t *api.Task) []byte {
	if t.Status.State == api.TaskPending && t.Desired <= api.TaskComplete {
		return key(t.ServiceID)
	}
	return nil
}

func nodeKey(t *api.Task) []byte {
	if t.NodeID == "" {
		return nil
	}
	return key(t.NodeID)
}

func numberKey(n *api.Node) []byte {
	if n.Number == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint32(nil, n.Number)
}

func ingressKey(n *api.Network) []byte {
	if !n.Spec.Ingress {
		return nil
	}
	return []byte{0}
}

// nameKey leaves out what has no name any more.
func nameKey(name string, v api.ContentVersion) []byte {
	if v.Superseded {
		return nil
	}
	return key(name)
}

var schema = &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
	tableCluster: table(tableCluster, unique(byID, func(*api.Cluster) []byte { return []byte{0} })),
	tableNodes: table(tableNodes,
		unique(byID, func(n *api.Node) []byte { return key(n.ID) }),
		many(byNumber, numberKey)),
	tableServices: table(tableServices,
		unique(byID, func(s *api.Service) []byte { return key(s.ID) }),
		unique(byName, func(s *api.Service) []byte { return key(s.Spec.Name) })),
	tableSpecs: table(tableSpecs,
		unique(byID, func(s *api.SpecVersion) []byte { return specKey(s.ServiceID, s.Version) })),
	tableTasks: table(tableTasks,
		unique(byID, func(t *api.Task) []byte { return key(t.ID) }),
		many(byService, func(t *api.Task) []byte { return key(t.ServiceID) }),
		many(bySlot, func(t *api.Task) []byte { return slotKey(t.ServiceID, t.Slot) }),
		many(byNode, nodeKey),
		many(byWaiting, waitingKey)),
	tableSecrets: table(tableSecrets,
		unique(byID, func(s *api.Secret) []byte { return key(s.ID) }),
		named(func(s *api.Secret) []byte { return nameKey(s.Spec.Name, s.Version) }),
		many(byLine, func(s *api.Secret) []byte { return key(s.Spec.Name) })),
	tableConfigs: table(tableConfigs,
		unique(byID, func(c *api.Config) []byte { return key(c.ID) }),
		named(func(c *api.Config) []byte { return nameKey(c.Spec.Name, c.Version) }),
		many(byLine, func(c *api.Config) []byte { return key(c.Spec.Name) })),
	tableNetworks: table(tableNetworks,
		unique(byID, func(n *api.Network) []byte { return key(n.ID) }),
		unique(byName, func(n *api.Network) []byte { return key(n.Spec.Name) }),
		many(byIngress, ingressKey)),
	tableAttached: table(tableAttached,
		unique(byID, func(c *api.AttachedContainer) []byte { return key(c.ID) }),
		many(byNode, func(c *api.AttachedContainer) []byte { return key(c.NodeID) })),
	tableStacks: table(tableStacks,
		unique(byID, func(s *api.Stack) []byte { return key(s.Name) })),
	tableRegistries: table(tableRegistries,
		unique(byID, func(r *api.Registry) []byte { return key(r.Host) })),
	tableSpaces: table(tableSpaces,
		unique(byID, func(s *space) []byte { return key(s.Network) })),
	tableLeases: table(tableLeases,
		unique(byID, func(l *lease) []byte { return leaseKey(l.network, l.addr) }),
		many(byPlace, (*lease).placeOf)),
	tablePorts: table(tablePorts,
		unique(byID, (*published).key)),
}}

func table(name string, indexes ...*memdb.IndexSchema) *memdb.TableSchema {
	t := &memdb.TableSchema{Name: name, Indexes: map[string]*memdb.IndexSchema{}}
	for _, ix := range indexes {
		t.Indexes[ix.Name] = ix
	}
	return t
}

func unique[T any](name string, f index[T]) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, Unique: true, Indexer: f}
}

// named is the index by the name of a table where some have none.
func named[T any](f index[T]) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: byName, Unique: true, AllowMissing: true, Indexer: f}
}

func many[T any](name string, f index[T]) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, AllowMissing: true, Indexer: f}
}
