package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/fxamacker/cbor/v2"

	"github.com/swarmctl/swarmctl/api"
)

// Command is a change of the state: all of its operations happen, or none.
type Command struct {
	// At is the proposer's clock. It is told to people and decides nothing.
	At  time.Time `cbor:"1,keyasint"`
	Ops []Op      `cbor:"2,keyasint"`
}

// Op is one operation; exactly one of its fields is set.
//
// Objects that are put carry the version they replace in Meta.Version.Index:
// 0 creates (a conflict if the ID or name is taken), another number must be
// the current version (else: outdated). Of a secret or a config that exists, a
// put changes the labels and nothing else. Operations on lists of tasks are
// tolerant: an entry that no longer applies (the task is gone, has moved on)
// is passed over and named in Result.Stale.
type Op struct {
	PutCluster      *api.Cluster     `cbor:"1,keyasint,omitempty"`
	PutNode         *api.Node        `cbor:"2,keyasint,omitempty"`
	ObserveNode     *ObserveNode     `cbor:"3,keyasint,omitempty"`
	DeleteNode      *DeleteNode      `cbor:"4,keyasint,omitempty"`
	PutService      *api.Service     `cbor:"5,keyasint,omitempty"`
	SetUpdateStatus *SetUpdateStatus `cbor:"6,keyasint,omitempty"`
	DeleteService   *DeleteService   `cbor:"7,keyasint,omitempty"`
	CreateTasks     []*api.Task      `cbor:"8,keyasint,omitempty"`
	AssignTasks     []Assign         `cbor:"9,keyasint,omitempty"`
	DesireTasks     []Desire         `cbor:"10,keyasint,omitempty"`
	ReportTasks     []Report         `cbor:"11,keyasint,omitempty"`
	DeleteTasks     []api.TaskID     `cbor:"12,keyasint,omitempty"`
	PutSecret       *api.Secret      `cbor:"13,keyasint,omitempty"`
	DeleteSecret    *DeleteSecret    `cbor:"14,keyasint,omitempty"`
	PutConfig       *api.Config      `cbor:"15,keyasint,omitempty"`
	DeleteConfig    *DeleteConfig    `cbor:"16,keyasint,omitempty"`
	CreateNetwork   *api.Network     `cbor:"17,keyasint,omitempty"`
	DeleteNetwork   *DeleteNetwork   `cbor:"18,keyasint,omitempty"`
	// PutAttached gives a container of a user's addresses; what it has in a
	// network that it stays on it keeps. An address that it names is given or
	// refused.
	PutAttached    *api.AttachedContainer `cbor:"19,keyasint,omitempty"`
	DeleteAttached *DeleteAttached        `cbor:"20,keyasint,omitempty"`
	PutVersion     *PutVersion            `cbor:"21,keyasint,omitempty"`
	RecordDeploy   *RecordDeploy          `cbor:"23,keyasint,omitempty"`
	// PutRegistry sets the credentials of a registry, whatever they were.
	PutRegistry    *api.Registry   `cbor:"28,keyasint,omitempty"`
	DeleteRegistry *DeleteRegistry `cbor:"29,keyasint,omitempty"`
	ForgetVolume   *ForgetVolume   `cbor:"26,keyasint,omitempty"`
	BeginMove      *BeginMove      `cbor:"31,keyasint,omitempty"`
	EndMove        *EndMove        `cbor:"32,keyasint,omitempty"`
}

// PutVersion gives the name of a secret, or of a config, another content: one
// object is set. It is a new one with an ID of its own, or a kept version of the
// name, whose content then stays what it is. Meta.Version.Index is that of the
// version which has the name, and which is superseded. All services that refer
// to a version of the name refer to this one afterwards: for each that is an
// update, and its way back is the version that it had.
type PutVersion struct {
	Secret *api.Secret `cbor:"1,keyasint,omitempty"`
	Config *api.Config `cbor:"2,keyasint,omitempty"`
	// Except are services that stay as they are, since another operation of the
	// command puts them.
	Except []api.ServiceID `cbor:"3,keyasint,omitempty"`
}

// ObserveNode records what is observed of a node; nil fields stay as they are.
type ObserveNode struct {
	ID          api.NodeID           `cbor:"1,keyasint"`
	Status      *api.NodeStatus      `cbor:"2,keyasint,omitempty"`
	Description *api.NodeDescription `cbor:"3,keyasint,omitempty"`
	ManagerAddr *string              `cbor:"4,keyasint,omitempty"`
	// IfSession, where set, makes the operation stale unless the node's
	// current session is this one: a late word on an old session is no news.
	IfSession string `cbor:"5,keyasint,omitempty"`
	// SessionLost and Verdict change only their part of the status: they are
	// written by different managers, and neither must undo the other's word.
	SessionLost *bool    `cbor:"6,keyasint,omitempty"`
	Verdict     *Verdict `cbor:"7,keyasint,omitempty"`
	// Routes are what the node's host routes itself.
	Routes *[]netip.Prefix `cbor:"8,keyasint,omitempty"`
	// PortProblems are all published ports that the node does not answer.
	PortProblems *map[string]string `cbor:"9,keyasint,omitempty"`
	// Load is how busy the node is.
	Load *api.NodeLoad `cbor:"10,keyasint,omitempty"`
	// Settled says whether the node has told what became of its tasks: see
	// NodeStatus.Unsettled.
	Settled *bool `cbor:"14,keyasint,omitempty"`
	// Volumes are all named volumes of the node, in the order of their names.
	Volumes *[]api.Volume `cbor:"11,keyasint,omitempty"`
}

// ForgetVolume says that a node's copy of a volume holds no task any more. The
// copy is gone, or, with GiveUp, may be there still and is nobody's data.
type ForgetVolume struct {
	Node   api.NodeID `cbor:"1,keyasint"`
	Name   string     `cbor:"2,keyasint"`
	GiveUp bool       `cbor:"3,keyasint,omitempty"`
}

// BeginMove begins the move of a volume: the tasks that use it on the node that
// has it are to stop, and none is placed that would use it on either node before
// EndMove. A conflict where the one node has no copy that can be moved, or the
// other one has or uses a volume of that name.
type BeginMove struct {
	ID   string     `cbor:"1,keyasint"`
	Name string     `cbor:"2,keyasint"`
	From api.NodeID `cbor:"3,keyasint"`
	To   api.NodeID `cbor:"4,keyasint"`
}

// EndMove ends the move with the ID; a conflict where that is not under way.
// Without Err the copy on the new node is the volume, else the old one stays it;
// the other copy is left to be removed.
type EndMove struct {
	ID   string     `cbor:"1,keyasint"`
	Name string     `cbor:"2,keyasint"`
	From api.NodeID `cbor:"3,keyasint"`
	To   api.NodeID `cbor:"4,keyasint"`
	Err  string     `cbor:"5,keyasint,omitempty"`
}

// Verdict is what the leader thinks of a node, and why.
type Verdict struct {
	State   api.NodeState `cbor:"1,keyasint"`
	Message string        `cbor:"2,keyasint,omitempty"`
	// DaemonGone says that the host answers without its daemon.
	DaemonGone bool `cbor:"3,keyasint,omitempty"`
}

// DeleteNode removes a node. Its tasks that have not ended are orphaned.
type DeleteNode struct {
	ID      api.NodeID `cbor:"1,keyasint"`
	Version uint64     `cbor:"2,keyasint"` // 0: whatever the version
}

// SetUpdateStatus records how the update of a service goes.
type SetUpdateStatus struct {
	ID     api.ServiceID       `cbor:"1,keyasint"`
	Status *swarm.UpdateStatus `cbor:"2,keyasint"`
	// RollBackFrom, where set, also puts the service back to its previous spec.
	// It is stale unless the tasks' spec has this version: what the user has
	// changed meanwhile is not undone.
	RollBackFrom uint64 `cbor:"3,keyasint,omitempty"`
	// Canary, where set, also says how the service's canary goes.
	Canary *CanaryChange `cbor:"4,keyasint,omitempty"`
}

// CanaryChange is what becomes of a service's canary.
type CanaryChange struct {
	// SpecVersion is the service's: the whole SetUpdateStatus is stale unless it
	// still is.
	SpecVersion uint64 `cbor:"1,keyasint"`
	// Phase is the phase that it comes into; empty: there is no canary any more.
	Phase api.CanaryPhase `cbor:"2,keyasint,omitempty"`
	// Hidden are the versions whose tasks get no connections from now on: all of
	// them, not only those that are new.
	Hidden []uint64 `cbor:"3,keyasint,omitempty"`
}

// DeleteService removes a service. Its tasks get desired state Remove, and
// leave the store when their nodes have stopped them.
type DeleteService struct {
	ID api.ServiceID `cbor:"1,keyasint"`
}

// DeleteSecret removes a secret that no service uses, with all its versions; or
// one version that has been superseded.
type DeleteSecret struct {
	ID api.SecretID `cbor:"1,keyasint"`
}

// DeleteConfig is as DeleteSecret.
type DeleteConfig struct {
	ID api.ConfigID `cbor:"1,keyasint"`
}

// DeleteNetwork removes a network that nobody uses.
type DeleteNetwork struct {
	ID api.NetworkID `cbor:"1,keyasint"`
}

// RecordDeploy adds a deploy to what is remembered of a stack, which is created
// where it is not there. It belongs into the command that carries the deploy out.
type RecordDeploy struct {
	Stack string `cbor:"1,keyasint"`
	// Version is that of the stack which the deploy replaces, as in every put.
	Version uint64 `cbor:"2,keyasint,omitempty"`
	// Deploys are the new ones, the oldest first: the one in force is the last,
	// and before the first one that is remembered goes what was found.
	Deploys []api.StackDeploy `cbor:"3,keyasint"`
	// Outcome is how far the deploy had come that was in force.
	Outcome string `cbor:"4,keyasint,omitempty"`
}

// DeleteAttached takes an attached container's addresses back.
type DeleteAttached struct {
	ID string `cbor:"1,keyasint"`
}

// DeleteRegistry forgets the credentials of a registry.
type DeleteRegistry struct {
	Host string `cbor:"1,keyasint"`
}

// Assign gives a waiting task its node, and its addresses. It is stale where a
// network of the task has none left.
type Assign struct {
	Task api.TaskID `cbor:"1,keyasint"`
	Node api.NodeID `cbor:"2,keyasint"`
	// Generic are the node's resources that are set aside for the task.
	Generic []api.GenericResource `cbor:"3,keyasint,omitempty"`
}

// Desire raises the desired state of a task. Lowering it is stale.
type Desire struct {
	Task  api.TaskID    `cbor:"1,keyasint"`
	State api.TaskState `cbor:"2,keyasint"`
}

// Report is what a node, or the scheduler, observed of a task. A report of a
// state before the current one is stale.
type Report struct {
	Task   api.TaskID     `cbor:"1,keyasint"`
	Status api.TaskStatus `cbor:"2,keyasint"`
	// From is the node that reports, and empty for the managers themselves. A
	// node can report only tasks that are its own; others are stale.
	From api.NodeID `cbor:"3,keyasint,omitempty"`
}

// Result is the outcome of one command, the same on every manager.
type Result struct {
	// Index is the log index, and with it the version of what was put.
	Index uint64 `cbor:"1,keyasint"`
	// Code and Message are empty on success.
	Code    api.Code `cbor:"2,keyasint,omitempty"`
	Message string   `cbor:"3,keyasint,omitempty"`
	// Stale names the tasks, or the node, whose entry no longer applied.
	Stale []string `cbor:"4,keyasint,omitempty"`
}

// Err is the result as an error: nil on success.
func (r Result) Err() error {
	if r.Code == "" {
		return nil
	}
	return &api.Error{Code: r.Code, Message: r.Message}
}

// formatVersion leads every encoded batch, snapshot header included. A reader
// refuses versions that it does not know instead of guessing.
const formatVersion = 1

var (
	encMode = must(cbor.EncOptions{Sort: cbor.SortCoreDeterministic, Time: cbor.TimeRFC3339NanoUTC, NilContainers: cbor.NilContainerAsNull}.EncMode())
	// What is encoded must decode, or every manager stops: so text that is not
	// UTF-8 (an engine's message, say) passes.
	decMode = must(cbor.DecOptions{MaxArrayElements: 1 << 27, MaxMapPairs: 1 << 24, MaxNestedLevels: 64, UTF8: cbor.UTF8DecodeInvalid}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// EncodeBatch encodes commands that are to share one log entry.
func EncodeBatch(commands []Command) ([]byte, error) {
	body, err := encMode.Marshal(commands)
	if err != nil {
		return nil, fmt.Errorf("encode commands: %w", err)
	}
	return append([]byte{formatVersion}, body...), nil
}

// DecodeBatch is the inverse of EncodeBatch.
func DecodeBatch(data []byte) ([]Command, error) {
	if len(data) == 0 || data[0] != formatVersion {
		return nil, fmt.Errorf("log entry has format %v, this program reads format %d: upgrade it", data[:min(1, len(data))], formatVersion)
	}
	var commands []Command
	if err := decMode.Unmarshal(data[1:], &commands); err != nil {
		return nil, fmt.Errorf("decode commands: %w", err)
	}
	return commands, nil
}

// JoinBatches makes one batch of several, without decoding their commands:
// what EncodeBatch would make of all of them.
func JoinBatches(batches [][]byte) ([]byte, error) {
	if len(batches) == 1 {
		return batches[0], nil
	}
	total, size := 0, 10
	bodies := make([][]byte, len(batches))
	for i, b := range batches {
		n, body, err := splitBatch(b)
		if err != nil {
			return nil, err
		}
		total, size, bodies[i] = total+n, size+len(body), body
	}
	out := append(make([]byte, 0, size), formatVersion)
	out = appendArrayHead(out, total)
	for _, b := range bodies {
		out = append(out, b...)
	}
	return out, nil
}

// BatchLen is the number of commands in a batch, and 0 where it is none.
func BatchLen(batch []byte) int {
	n, _, err := splitBatch(batch)
	if err != nil {
		return 0
	}
	return n
}

// The head of a CBOR array: the major type with a small length, or with a
// length in the bytes that follow.
const (
	cborArray   = 0x80
	cborLenMask = 0x1f
	cborLen8    = 24
	cborLen16   = 25
	cborLen32   = 26
)

func splitBatch(b []byte) (n int, body []byte, err error) {
	if len(b) < 2 || b[0] != formatVersion || b[1]&^cborLenMask != cborArray {
		return 0, nil, errors.New("not a batch of commands")
	}
	size := 0
	switch l := b[1] & cborLenMask; {
	case l < cborLen8:
		return int(l), b[2:], nil
	case l <= cborLen32:
		size = 1 << (l - cborLen8)
	default:
		return 0, nil, errors.New("not a batch of commands")
	}
	if len(b) < 2+size {
		return 0, nil, errors.New("not a whole batch of commands")
	}
	for _, digit := range b[2 : 2+size] {
		n = n<<8 | int(digit)
	}
	return n, b[2+size:], nil
}

func appendArrayHead(out []byte, n int) []byte {
	switch {
	case n < cborLen8:
		return append(out, cborArray|byte(n))
	case n <= math.MaxUint8:
		return append(out, cborArray|cborLen8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, cborArray|cborLen16), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(out, cborArray|cborLen32), uint32(n))
	}
}

// EncodeResults encodes the outcomes of a batch for a manager that forwarded it.
func EncodeResults(results []Result) ([]byte, error) {
	data, err := encMode.Marshal(results)
	if err != nil {
		return nil, fmt.Errorf("encode results: %w", err)
	}
	return data, nil
}

// DecodeResults is the inverse of EncodeResults.
func DecodeResults(data []byte) ([]Result, error) {
	var results []Result
	if err := decMode.Unmarshal(data, &results); err != nil {
		return nil, fmt.Errorf("decode results: %w", err)
	}
	return results, nil
}
