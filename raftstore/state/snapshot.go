package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/fxamacker/cbor/v2"

	"github.com/swarmctl/swarmctl/api"
)

// row is one object of a snapshot; exactly one field is set. The first row of
// a snapshot holds the index, the last one says that it is whole.
type row struct {
	Index   uint64           `cbor:"1,keyasint,omitempty"`
	Cluster *api.Cluster     `cbor:"2,keyasint,omitempty"`
	Node    *api.Node        `cbor:"3,keyasint,omitempty"`
	Service *api.Service     `cbor:"4,keyasint,omitempty"`
	Spec    *api.SpecVersion `cbor:"5,keyasint,omitempty"`
	Task    *api.Task        `cbor:"6,keyasint,omitempty"`
	End     bool             `cbor:"7,keyasint,omitempty"`
	Secret  *api.Secret      `cbor:"8,keyasint,omitempty"`
	Config  *api.Config      `cbor:"9,keyasint,omitempty"`
	Network *api.Network     `cbor:"10,keyasint,omitempty"`

	Attached *api.AttachedContainer `cbor:"11,keyasint,omitempty"`
	Space    *space                 `cbor:"12,keyasint,omitempty"`
	Stack    *api.Stack             `cbor:"23,keyasint,omitempty"`
	Registry *api.Registry          `cbor:"28,keyasint,omitempty"`
}

// WriteTo streams the view as a snapshot: a format byte, then rows.
func (v *View) WriteTo(w io.Writer) (int64, error) {
	buf := bufio.NewWriterSize(w, 64<<10)
	count := &counter{w: buf}
	if _, err := count.Write([]byte{formatVersion}); err != nil {
		return count.n, err
	}
	enc := encMode.NewEncoder(count)
	for r := range v.rows() {
		if err := enc.Encode(r); err != nil {
			return count.n, fmt.Errorf("write snapshot: %w", err)
		}
	}
	return count.n, buf.Flush()
}

func (v *View) rows() iter.Seq[row] {
	return func(yield func(row) bool) {
		ok := yield(row{Index: v.index})
		if c := v.Cluster(); ok && c != nil {
			ok = yield(row{Cluster: c})
		}
		each(&ok, yield, v.Nodes(), func(n *api.Node) row { return row{Node: n} })
		each(&ok, yield, v.Services(), func(s *api.Service) row { return row{Service: s} })
		each(&ok, yield, all[api.SpecVersion](v, tableSpecs, byID), func(s *api.SpecVersion) row { return row{Spec: s} })
		each(&ok, yield, v.Tasks(), func(t *api.Task) row { return row{Task: t} })
		each(&ok, yield, all[api.Secret](v, tableSecrets, byID), func(s *api.Secret) row { return row{Secret: s} })
		each(&ok, yield, all[api.Config](v, tableConfigs, byID), func(c *api.Config) row { return row{Config: c} })
		each(&ok, yield, v.Networks(), func(n *api.Network) row { return row{Network: n} })
		each(&ok, yield, v.AttachedContainers(), func(c *api.AttachedContainer) row { return row{Attached: c} })
		each(&ok, yield, v.Stacks(), func(s *api.Stack) row { return row{Stack: s} })
		each(&ok, yield, v.Registries(), func(r *api.Registry) row { return row{Registry: r} })
		each(&ok, yield, all[space](v, tableSpaces, byID), func(s *space) row { return row{Space: s} })
		if ok {
			yield(row{End: true})
		}
	}
}

func each[T any](ok *bool, yield func(row) bool, seq iter.Seq[*T], wrap func(*T) row) {
	if !*ok {
		return
	}
	for obj := range seq {
		if *ok = yield(wrap(obj)); !*ok {
			return
		}
	}
}

// Restore replaces the state by a snapshot. On an error the state is as it was.
func (s *State) Restore(r io.Reader) error {
	var format [1]byte
	if _, err := io.ReadFull(r, format[:]); err != nil || format[0] != formatVersion {
		return fmt.Errorf("snapshot has format %d, this program reads format %d (%v)", format[0], formatVersion, err)
	}
	fresh := New()
	index, err := fresh.load(decMode.NewDecoder(bufio.NewReaderSize(r, 64<<10)))
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	s.db = fresh.db
	view := newView(s.db, index)
	s.current.Store(view)
	s.feed.publish(&Event{Index: index, View: view, Reset: true})
	return nil
}

func (s *State) load(dec *cbor.Decoder) (index uint64, err error) {
	x := &tx{txn: s.db.Txn(true), spaces: map[api.NetworkID]*space{}}
	defer x.txn.Abort()
	for {
		var r row
		if err := dec.Decode(&r); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // the end has a row of its own
			}
			return 0, err
		}
		switch {
		case r.Cluster != nil:
			x.put(tableCluster, r.Cluster)
		case r.Node != nil:
			x.put(tableNodes, r.Node)
		case r.Service != nil:
			x.put(tableServices, r.Service)
		case r.Spec != nil:
			x.put(tableSpecs, r.Spec)
		case r.Task != nil:
			x.put(tableTasks, r.Task)
		case r.Secret != nil:
			x.put(tableSecrets, r.Secret)
		case r.Config != nil:
			x.put(tableConfigs, r.Config)
		case r.Network != nil:
			x.put(tableNetworks, r.Network)
		case r.Attached != nil:
			x.put(tableAttached, r.Attached)
		case r.Stack != nil:
			x.put(tableStacks, r.Stack)
		case r.Registry != nil:
			x.put(tableRegistries, r.Registry)
		case r.Space != nil:
			x.put(tableSpaces, r.Space)
		case r.End:
			x.deriveLeases()
			x.storeSpaces()
			x.txn.Commit()
			return index, nil
		default:
			index = r.Index
		}
	}
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
