package dockerapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/versions"

	"github.com/swarmctl/swarmctl/api"
)

// The node's half of single containers in the cluster's networks. A request to
// make a container in one, or to connect one, is held up until the leader has
// given it addresses and this node has its part of the network; then it goes
// to the engine with those. What becomes of the container afterwards the keeper
// follows: see attachkeep.go.

const (
	// givingBack bounds how long addresses are given back that were not needed.
	givingBack = 10 * time.Second
	// lingering is how long the engine may take for what it has been asked after
	// the caller has gone. It would carry it out all the same: who hears no
	// answer does not know whether the addresses are in use.
	lingering = 30 * time.Second
	// preparing bounds how long this node's part of a network is waited for.
	preparing = 20 * time.Second
	// bridgeAgain is how soon the engine is asked again that had no bridge.
	bridgeAgain = 200 * time.Millisecond
	// settling is how long an answer waits until the cluster knows a container
	// by the names that it has got. Nothing depends on it but those names.
	settling = 2 * time.Second
)

// askCluster has the leader answer a request of this node's own.
func (a *API) askCluster(ctx context.Context, method, path string, body, answer any) error {
	r, err := http.NewRequestWithContext(ctx, method, path, http.NoBody)
	if err != nil {
		return err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
		r = withBody(r, raw(body))
	}
	told := kept(func(w http.ResponseWriter) {
		if a.cfg.Node.Role() == Worker && a.cfg.ToManager != nil {
			a.cfg.ToManager.ServeHTTP(w, r)
			return
		}
		a.serveCluster(w, r)
	})
	if told.status >= http.StatusBadRequest || told.status == 0 {
		return told.err()
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(told.body.Bytes(), answer)
}

// err is the error that an answer is.
func (k *answer) err() error {
	var said struct{ Message string }
	if json.Unmarshal(k.body.Bytes(), &said) != nil || said.Message == "" {
		said.Message = "no answer: " + http.StatusText(k.status)
	}
	for code, status := range statusOf {
		if status == k.status && code != api.CodeOutdated && code != api.CodeNotLeader {
			return api.Errorf(code, "%s", said.Message)
		}
	}
	return api.Errorf(api.CodeUnavailable, "%s", said.Message)
}

func (a *API) nodePath() string { return "/swarmctl/nodes/" + string(a.cfg.Node.ID()) }

func (a *API) attachmentsPath() string { return a.nodePath() + "/attachments" }

func (a *API) attachmentPath(id string) string { return a.attachmentsPath() + "/" + id }

// place has a container given its addresses, and this node's part of the
// networks made.
func (a *API) place(ctx context.Context, id string, want *attachmentRequest) (c api.AttachedContainer, plan Networking, err error) {
	if err := a.askCluster(ctx, http.MethodPut, a.attachmentPath(id), want, &c); err != nil {
		return c, plan, err
	}
	ctx, cancel := context.WithTimeout(ctx, preparing)
	defer cancel()
	plan, err = a.cfg.Networks.Prepare(ctx, id, c.Networks)
	return c, plan, err
}

// giveBack undoes a place. The caller may have gone.
func (a *API) giveBack(ctx context.Context, id string, before *attachmentRequest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), givingBack)
	defer cancel()
	var err error
	if before == nil || len(before.Networks) == 0 {
		a.cfg.Networks.Detach(id)
		err = a.askCluster(ctx, http.MethodDelete, a.attachmentPath(id), nil, nil)
	} else {
		err = a.askCluster(ctx, http.MethodPut, a.attachmentPath(id), before, nil)
	}
	if err != nil && api.CodeOf(err) != api.CodeNotFound {
		a.cfg.Log.Warn("addresses are not given back yet", "container", id, "err", err)
		a.keeper.lookAgain()
	}
}

// outliving is a context that ends later than another one, by so much at most.
func outliving(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(by):
			cancel()
		case <-out.Done():
		}
	})
	return out, func() { stop(); cancel() }
}

// containerCreate makes a container in networks of the cluster, where the
// request names any, and hands on every other request as it came.
func (a *API) containerCreate(w http.ResponseWriter, r *http.Request) error {
	body, err := buffered(w, r)
	if err != nil {
		return err
	}
	c := readContainerBody(body)
	if c == nil {
		return a.toEngine(w, r)
	}
	want, refs, err := a.wanted(r, c)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return a.toEngine(w, r)
	}
	id := a.cfg.NewID()
	release, err := a.keeper.hold(r.Context(), id)
	if err != nil {
		return err
	}
	defer release()
	placed, plan, err := a.place(r.Context(), id, want)
	if err == nil {
		body, err = c.rewrite(id, plan.under(refs), plan.DNS, a.oldWay(r))
	}
	if err != nil {
		a.giveBack(r.Context(), id, nil)
		return err
	}
	made := a.onBridges(r, &placed, r.URL.Path, body)
	var answer container.CreateResponse
	switch {
	case made.status == http.StatusCreated && json.Unmarshal(made.body.Bytes(), &answer) == nil:
		a.keeper.learn(&placed)
		release()
		a.keeper.settle(r.Context(), answer.ID, id)
	case made.refused():
		a.giveBack(r.Context(), id, nil)
	default: // it may have been made
		a.keeper.lookAgain()
	}
	made.pass(w)
	return nil
}

// onBridges has the engine answer a request that is about bridges which are
// prepared. One may go in that moment: whoever was on it last has left, or
// somebody prunes what nobody is on. It is made again then. The engine's answer
// is waited for though the caller may have gone.
func (a *API) onBridges(r *http.Request, c *api.AttachedContainer, path string, body []byte) *answer {
	asking, end := outliving(r.Context(), lingering)
	defer end()
	ctx, cancel := context.WithTimeout(r.Context(), preparing)
	defer cancel()
	for {
		told := kept(func(w http.ResponseWriter) { a.engine.ServeHTTP(w, withBody(at(r, path).WithContext(asking), body)) })
		if !told.noBridge() {
			return told
		}
		select {
		case <-ctx.Done():
			return told
		case <-time.After(bridgeAgain):
		}
		if _, err := a.cfg.Networks.Prepare(ctx, c.ID, c.Networks); err != nil {
			return told
		}
	}
}

// refused is the engine's word that it has done nothing. An error of its own,
// or none that was heard, leaves that open.
func (k *answer) refused() bool {
	return k.status >= http.StatusBadRequest && k.status < http.StatusInternalServerError
}

// noBridge is the engine's word that it has no such network.
func (k *answer) noBridge() bool {
	text := k.body.String()
	return k.status == http.StatusNotFound && (strings.Contains(text, "No such network") || strings.Contains(text, "network ") && strings.Contains(text, " not found"))
}

// oldWay reports whether the engine knows more of hardware addresses than the
// request can say.
func (a *API) oldWay(r *http.Request) bool {
	if a.lastPing.Load() == nil {
		a.pingEngine(r.Context())
	}
	version, engine := apiVersion(r), a.engineHeaders().Get("Api-Version")
	return version != "" && versions.LessThan(version, macSince) && versions.GreaterThanOrEqualTo(engine, macSince)
}

// containerStart starts a container. One in networks of the cluster may find
// that its bridges have gone while it did not run; and it has what those
// networks mean to it when the caller hears that it runs.
func (a *API) containerStart(w http.ResponseWriter, r *http.Request) error {
	body, err := buffered(w, r)
	if err != nil {
		return err
	}
	told := kept(func(w http.ResponseWriter) { a.engine.ServeHTTP(w, withBody(at(r, r.URL.Path), body)) })
	prepared := false
	if told.noBridge() {
		if c := a.attached(r.Context(), r.PathValue("id")); c != nil {
			told, prepared = a.onBridges(r, c, r.URL.Path, body), true
		}
	}
	if prepared || told.status == http.StatusNoContent && a.keeper.knowsAny() {
		a.keeper.settle(r.Context(), r.PathValue("id"), r.PathValue("id"))
	}
	told.pass(w)
	return nil
}

// attached is a container as the cluster knows it; nil where it does not.
func (a *API) attached(ctx context.Context, ref string) *api.AttachedContainer {
	seen, err := a.inspectContainer(ctx, ref)
	if err != nil {
		return nil
	}
	return a.keeper.of(seen.attachment)
}

// wanted is what a request to make a container asks of the cluster's networks,
// and the networks' IDs by what the request calls them.
func (a *API) wanted(r *http.Request, c *containerBody) (*attachmentRequest, map[string]string, error) {
	want := &attachmentRequest{Name: r.URL.Query().Get("name")}
	refs := map[string]string{}
	for _, ref := range c.networks() {
		n, err := a.findNetwork(r, ref)
		if err != nil {
			return nil, nil, err
		}
		if n == nil || !n.ours {
			continue // the engine's, or nobody's: the engine says so
		}
		asked, err := c.asked(ref)
		if err != nil {
			return nil, nil, err
		}
		asked.Network, refs[ref] = n.ID, n.ID
		want.Networks = append(want.Networks, asked)
	}
	return want, refs, nil
}

// under has the bridges under what a request calls their networks.
func (p *Networking) under(refs map[string]string) map[string]Bridge {
	out := map[string]Bridge{}
	for ref, id := range refs {
		for _, b := range p.Networks {
			if string(b.Network) == id {
				out[ref] = b
			}
		}
	}
	return out
}

func withBody(r *http.Request, body []byte) *http.Request {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header = r.Header.Clone()
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return r
}

// connection is a request to connect a container, or to disconnect it.
type connection struct {
	Container      string
	EndpointConfig map[string]json.RawMessage
}

// readConnection reads such a request, which can be read again, and looks its
// container up.
func (a *API) readConnection(w http.ResponseWriter, r *http.Request) (c connection, seen *seenContainer, err error) {
	body, err := buffered(w, r)
	if err == nil {
		err = decode(body, &c)
	}
	if err == nil {
		seen, err = a.inspectContainer(r.Context(), c.Container)
	}
	return c, seen, err
}

// networkConnect puts a container that exists on a network of the cluster.
func (a *API) networkConnect(w http.ResponseWriter, r *http.Request, n *knownNetwork) error {
	if a.cfg.Networks == nil {
		return api.Errorf(api.CodeUnavailable, "network %s: this node's part of the cluster's networks is not there yet", n.Name)
	}
	req, seen, err := a.readConnection(w, r)
	if err != nil {
		return err
	}
	asked, err := askedOf(n.ID, req.EndpointConfig)
	if err != nil {
		return err
	}
	release, err := a.keeper.hold(r.Context(), seen.attachment)
	if err != nil {
		return err
	}
	defer release()
	if seen, err = a.inspectContainer(r.Context(), seen.ID); err != nil { // it may be on other networks than before it was held
		return err
	}
	if err := mayConnect(seen, n); err != nil {
		return err
	}
	done, err := a.connect(r, n, seen, asked, req.EndpointConfig)
	release()
	if done != nil && done.status != http.StatusOK && !done.refused() {
		a.keeper.lookAgain() // it may have been connected
	}
	a.keeper.settle(r.Context(), seen.ID, seen.attachment)
	if err != nil {
		return err
	}
	done.pass(w)
	return nil
}

// connect has a container that is held given its addresses and then connected.
func (a *API) connect(r *http.Request, n *knownNetwork, seen *seenContainer, asked attachmentNetwork, endpoint map[string]json.RawMessage) (*answer, error) {
	before := seen.request()
	want := &attachmentRequest{Name: before.Name, Networks: append(slices.Clone(before.Networks), asked)}
	placed, plan, err := a.place(r.Context(), seen.attachment, want)
	bridge, ours := plan.under(map[string]string{"": n.ID})[""]
	if err == nil && !ours {
		err = api.Errorf(api.CodeUnavailable, "network %s: this node has no part of it", n.Name)
	}
	if err != nil {
		a.giveBack(r.Context(), seen.attachment, before)
		return nil, err
	}
	body := raw(map[string]any{"Container": seen.ID, "EndpointConfig": bridge.endpoint(endpoint)})
	done := a.onBridges(r, &placed, "/networks/"+bridge.Name+"/connect", body)
	switch {
	case done.status == http.StatusOK:
		a.keeper.learn(&placed)
	case done.refused():
		a.giveBack(r.Context(), seen.attachment, before)
	}
	return done, nil
}

// mayConnect refuses what the engine would, before any address is given.
func mayConnect(c *seenContainer, n *knownNetwork) error {
	if c.task {
		return api.Errorf(api.CodeForbidden, "container %s is a task's: put its service on network %s with `service update --network-add`", c.name(), n.Name)
	}
	if c.on(api.NetworkID(n.ID)) {
		return api.Errorf(api.CodeForbidden, "endpoint with name %s already exists in network %s", c.name(), n.Name)
	}
	return nil
}

// networkDisconnect takes a container off a network of the cluster. The keeper
// gives its address back; here it is only seen to before the caller hears of it.
func (a *API) networkDisconnect(w http.ResponseWriter, r *http.Request, n *knownNetwork) error {
	_, seen, err := a.readConnection(w, r)
	if err != nil {
		return err
	}
	if seen.task {
		return api.Errorf(api.CodeForbidden, "container %s is a task's: take its service off network %s with `service update --network-rm`", seen.name(), n.Name)
	}
	bridge := ""
	for _, have := range a.engineNetworks(r) {
		if have.Labels[api.LabelNetworkID] == n.ID {
			bridge = have.ID
		}
	}
	if bridge == "" {
		return api.Errorf(api.CodeForbidden, "container %s is not connected to network %s", seen.ID, n.Name)
	}
	asking, end := outliving(r.Context(), lingering)
	defer end()
	done := kept(func(w http.ResponseWriter) {
		a.engine.ServeHTTP(w, at(r, "/networks/"+bridge+"/disconnect").WithContext(asking))
	})
	if !done.refused() {
		a.keeper.settle(r.Context(), seen.ID, seen.attachment)
	}
	done.pass(w)
	return nil
}
