package daemon

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// storeFacade is the store of whatever membership there is, for the API.
type storeFacade struct{ d *Daemon }

var errNoManager = api.Errorf(api.CodeUnavailable, "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.")

func (f storeFacade) store() *raftstore.Store {
	if m := f.d.current(); m != nil {
		if g := m.manager(); g != nil {
			return g.store
		}
	}
	return nil
}

// ReadView implements dockerapi.Store.
func (f storeFacade) ReadView(ctx context.Context) (*state.View, error) {
	if s := f.store(); s != nil {
		return s.ReadView(ctx)
	}
	return nil, errNoManager
}

// View implements dockerapi.Store.
func (f storeFacade) View() *state.View {
	if s := f.store(); s != nil {
		return s.View()
	}
	return nil
}

// Follow implements dockerapi.Store.
func (f storeFacade) Follow() (*state.View, *state.Cursor) {
	if s := f.store(); s != nil {
		return s.Follow()
	}
	return nil, nil
}

// Propose implements dockerapi.Store.
func (f storeFacade) Propose(ctx context.Context, cmd state.Command) (state.Result, error) {
	if s := f.store(); s != nil {
		return s.Propose(ctx, cmd)
	}
	return state.Result{}, errNoManager
}

// Rehearse implements dockerapi.Store.
func (f storeFacade) Rehearse(ctx context.Context, cmd state.Command) error {
	if s := f.store(); s != nil {
		return s.Rehearse(ctx, cmd)
	}
	return errNoManager
}

// tunnelFacade reaches other nodes' engines for the API.
type tunnelFacade struct{ d *Daemon }

// Engine implements dockerapi.Tunnel.
func (f tunnelFacade) Engine(ctx context.Context, id nodeID) (net.Conn, error) {
	if m := f.d.current(); m != nil {
		if g := m.manager(); g != nil {
			return g.tunnelTo(ctx, id)
		}
	}
	return nil, errNoManager
}

// Daemon implements dockerapi.Tunnel.
func (f tunnelFacade) Daemon(ctx context.Context, id nodeID) (net.Conn, error) {
	if m := f.d.current(); m != nil {
		if g := m.manager(); g != nil {
			return g.daemonOf(ctx, id)
		}
	}
	return nil, errNoManager
}

// caStore is what the CA needs of the store.
type caStore struct{ *raftstore.Store }

// CreateNode implements ca.Store.
func (s caStore) CreateNode(ctx context.Context, n *api.Node) error {
	_, err := s.Propose(ctx, state.Command{At: time.Now(), Ops: []state.Op{{PutNode: n}}})
	return err
}

// watchFailure returns why a part of the member does not run, and a channel
// that is closed when that changes.
func (m *member) watchFailure() (error, <-chan struct{}) { //nolint:revive // the error is the value here
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failure, m.failed
}

func nodeSpec(info *wire.ClusterInfo) (spec api.NodeSpec, err error) {
	err = json.Unmarshal(info.GetNodeSpecJson(), &spec)
	return spec, err
}

// newAPITransport speaks the Docker API to other managers.
func newAPITransport(ids *identity.Source) *http.Transport { return newTransport(ids, protoAPI) }

// newTransport speaks one of the HTTP protocols of the managers' port.
func newTransport(ids *identity.Source, proto string) *http.Transport {
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			var conn *tls.Conn
			conn, err := dialTLS(ctx, ids, addr, proto)
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
}

// removeMembership forgets a membership; with identity, first of all who the
// node is, so that a crash in between leaves leftovers and never half a member.
func removeMembership(dir string, withIdentity bool) error {
	if withIdentity {
		if err := identity.Remove(dir); err != nil {
			return err
		}
	}
	return errors.Join(removeFile(filepath.Join(dir, settingsFile)), removeRaft(dir))
}

// chownToDockerGroup lets the group docker use the socket, as it may the
// engine's, which is worth as much. Without such a group it stays root's.
func chownToDockerGroup(path string) {
	g, err := user.LookupGroup("docker")
	if err != nil {
		return
	}
	if gid, err := strconv.Atoi(g.Gid); err == nil {
		_ = os.Chown(path, -1, gid)
	}
}
