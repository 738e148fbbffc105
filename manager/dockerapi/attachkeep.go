package dockerapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/swarmctl/swarmctl/api"
)

// attachKeeper sees to it that the cluster knows of the containers that users
// have in its networks what the engine knows: their names, where they are, and
// that they are gone. One goroutine does it, so that what is seen first is
// told first.
type attachKeeper struct {
	api   *API
	asks  chan settleAsk
	again chan struct{} // holds one, where everything is to be looked at

	mu    sync.Mutex
	held  map[string]*holding
	known map[string]*api.AttachedContainer // as the cluster has them
}

type settleAsk struct {
	container, attachment string
	done                  chan struct{}
}

func newAttachKeeper(a *API) *attachKeeper {
	return &attachKeeper{
		api: a, asks: make(chan settleAsk), again: make(chan struct{}, 1),
		held: map[string]*holding{}, known: map[string]*api.AttachedContainer{},
	}
}

// holding is an attachment in somebody's hands: a request that makes or connects
// its container, or the keeper.
type holding struct {
	over   chan struct{} // closed when it is not
	missed bool          // somebody wanted it meanwhile
}

// hold waits for whoever has an attachment in hand, and has the keeper leave it
// alone until release, which may be called again and does nothing then.
func (k *attachKeeper) hold(ctx context.Context, id string) (release func(), err error) {
	for {
		release, busy := k.tryHold(id)
		if release != nil {
			return release, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, api.Errorf(api.CodeUnavailable, "container %s is just being connected to another network: %v", id, ctx.Err())
		}
	}
}

// tryHold returns without a release where the attachment is in other hands,
// until busy is closed. Everything is looked at then: the keeper, which does
// not wait, may have passed it over.
func (k *attachKeeper) tryHold(id string) (release func(), busy <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.held[id]; h != nil {
		h.missed = true
		return nil, h.over
	}
	h := &holding{over: make(chan struct{})}
	k.held[id] = h
	return sync.OnceFunc(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.held, id)
		close(h.over)
		if h.missed {
			k.lookAgain()
		}
	}), nil
}

func (k *attachKeeper) learn(c *api.AttachedContainer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known[c.ID] = c
}

func (k *attachKeeper) of(id string) *api.AttachedContainer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known[id]
}

func (k *attachKeeper) knowsAny() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.known) > 0
}

// learnAll forgets what was known before. What is held is newer than the list.
func (k *attachKeeper) learnAll(list []*api.AttachedContainer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known := map[string]*api.AttachedContainer{}
	for id := range k.held {
		if c := k.known[id]; c != nil {
			known[id] = c
		}
	}
	for _, c := range list {
		if k.held[c.ID] == nil {
			known[c.ID] = c
		}
	}
	k.known = known
}

func (k *attachKeeper) forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, id)
}

// settle has a container looked at now, and returns when that is done. Who has
// no time to wait goes on without. attachment is what is given back if it is gone.
func (k *attachKeeper) settle(ctx context.Context, container, attachment string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settling)
	defer cancel()
	ask := settleAsk{container, attachment, make(chan struct{})}
	select {
	case k.asks <- ask:
	case <-ctx.Done():
		return
	}
	select {
	case <-ask.done:
	case <-ctx.Done():
	}
}

// lookAgain has everything looked at once more: nobody knows what has become
// of a request.
func (k *attachKeeper) lookAgain() {
	select {
	case k.again <- struct{}{}:
	default:
	}
}

const (
	// keepRetry is how long the keeper rests after a failure: the engine is down,
	// or no leader answers. Everything is looked at again then.
	keepRetry = 2 * time.Second
	// keepPatience is after how many failures in a row the log hears of them: a
	// node that has just started has no manager yet, nor have its managers a leader.
	keepPatience = 5
)

// KeepAttachments follows the containers of users in the cluster's networks,
// for as long as the node is a member. What happened while nobody followed is
// seen to first: addresses of containers that are no more are given back.
func (a *API) KeepAttachments(ctx context.Context) {
	if a.cfg.Networks == nil {
		return
	}
	for failures := 1; ctx.Err() == nil; failures++ {
		followed, err := a.keeper.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if followed {
			failures = 1
		}
		if failures == keepPatience {
			a.cfg.Log.Warn("containers in the cluster's networks are not followed", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(keepRetry):
		case ask := <-a.keeper.asks: // who asks does not wait for that: all are looked at now
			close(ask.done)
		}
	}
}

// follow looks at everything and then at what happens, and reports whether it
// got as far as that.
func (k *attachKeeper) follow(ctx context.Context) (followed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	happens, err := k.api.containerEvents(ctx) // from here on: nothing after the list is missed
	if err != nil {
		return false, err
	}
	if err := k.reconcile(ctx); err != nil {
		return false, err
	}
	for {
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case ask := <-k.asks:
			err = k.settleNow(ctx, ask.container, ask.attachment)
			close(ask.done)
		case <-k.again:
			err = k.reconcile(ctx)
		case e, ok := <-happens:
			if !ok {
				return true, errors.New("the engine's events have ended")
			}
			if isTask(e.Actor.Attributes) { // the attributes of a container's event are its labels too
				continue
			}
			err = k.settleNow(ctx, e.Actor.ID, attachmentOf(e.Actor.ID, e.Actor.Attributes))
		}
		if err != nil {
			return true, err
		}
	}
}

// containerEvents are those that change what the cluster should know.
func (a *API) containerEvents(ctx context.Context) (<-chan events.Message, error) {
	f := filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)))
	for _, action := range []events.Action{events.ActionStart, events.ActionDie, events.ActionDestroy, events.ActionRename} {
		f.Add("event", string(action))
	}
	query, err := filters.ToJSON(f)
	if err != nil {
		return nil, err
	}
	res, err := a.ask(ctx, "/events?filters="+url.QueryEscape(query))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, errors.New("the engine's events: " + res.Status)
	}
	out := make(chan events.Message)
	go func() { // ends with the stream, which ends with ctx
		defer close(out)
		defer res.Body.Close() //nolint:errcheck // nothing is lost with it
		for dec := json.NewDecoder(res.Body); ; {
			var e events.Message
			if dec.Decode(&e) != nil {
				return
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// reconcile looks at every container that is, or that the cluster takes to be,
// in one of its networks.
func (k *attachKeeper) reconcile(ctx context.Context) error {
	a := k.api
	var list []*api.AttachedContainer
	if err := a.askCluster(ctx, http.MethodGet, a.attachmentsPath(), nil, &list); err != nil {
		return err
	}
	k.learnAll(list)
	bridges, err := a.bridges(ctx)
	if err != nil {
		return err
	}
	var containers []listedContainer
	if err := a.askEngine(ctx, "/containers/json?all=1", &containers); err != nil {
		return err
	}
	there := map[string]bool{}
	for _, c := range containers {
		id := attachmentOf(c.ID, c.Labels)
		there[id] = true
		if isTask(c.Labels) || k.of(id) == nil && !c.on(bridges) {
			continue
		}
		if err := k.settleNow(ctx, c.ID, id); err != nil {
			return err
		}
	}
	for _, c := range list {
		if !there[c.ID] {
			if err := k.dropUnlessThere(ctx, c.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropUnlessThere gives the addresses of a container back that the engine does
// not have. One that is being made may have come since it was listed.
func (k *attachKeeper) dropUnlessThere(ctx context.Context, id string) error {
	release, _ := k.tryHold(id)
	if release == nil {
		return nil
	}
	defer release()
	only, err := filters.ToJSON(filters.NewArgs(filters.Arg("label", labelAttachment+"="+id)))
	if err != nil {
		return err
	}
	var late []listedContainer
	if err := k.api.askEngine(ctx, "/containers/json?all=1&filters="+url.QueryEscape(only), &late); err != nil || len(late) > 0 {
		return err
	}
	return k.gone(ctx, "", id)
}

// listedContainer is a container in the engine's list.
type listedContainer struct {
	ID              string
	Labels          map[string]string
	NetworkSettings struct {
		Networks map[string]struct{ NetworkID string }
	}
}

func (c *listedContainer) on(bridges bridgeNames) bool {
	for name, e := range c.NetworkSettings.Networks {
		if bridges[e.NetworkID] != "" || e.NetworkID == "" && bridges[name] != "" {
			return true
		}
	}
	return false
}

// settleNow makes the cluster and this node's networks agree with a container
// as the engine has it now.
func (k *attachKeeper) settleNow(ctx context.Context, container, attachment string) error {
	release, _ := k.tryHold(attachment)
	if release == nil {
		return nil
	}
	defer release()
	c, err := k.api.inspectContainer(ctx, container)
	switch {
	case errors.Is(err, api.ErrNotFound):
		return k.gone(ctx, container, attachment)
	case err != nil:
		return err
	case c.task:
		return nil
	case c.attachment != attachment: // it was asked for by another name
		return k.settleNow(ctx, c.ID, c.attachment)
	case len(c.networks) == 0:
		return k.gone(ctx, c.ID, c.attachment)
	}
	known := k.of(c.attachment)
	if !c.is(known) {
		if known, err = k.tell(ctx, c); err != nil || known == nil {
			return err
		}
	}
	if c.State == nil || !c.State.Running || c.State.Pid == 0 {
		k.api.cfg.Networks.Detach(c.attachment)
		return nil
	}
	if err := k.api.cfg.Networks.Attach(ctx, c.attachment, c.State.Pid, known.Networks, c.servers()); err != nil {
		k.api.cfg.Log.Warn("container does not reach the cluster's services", "container", c.name(), "err", err)
	}
	return nil
}

// tell has the cluster take over what the engine has. nil is a refusal: the
// container was put into a network behind our back, and is none of ours.
func (k *attachKeeper) tell(ctx context.Context, c *seenContainer) (*api.AttachedContainer, error) {
	var told api.AttachedContainer
	err := k.api.askCluster(ctx, http.MethodPut, k.api.attachmentPath(c.attachment), c.request(), &told)
	if err == nil {
		k.learn(&told)
		return &told, nil
	}
	if c := api.CodeOf(err); c == api.CodeUnavailable || c == api.CodeInternal {
		return nil, err
	}
	k.api.cfg.Log.Warn("container is in a network that the cluster does not let it into", "container", c.name(), "err", err)
	return nil, nil
}

// gone gives back what a container had. One that was made in networks of the
// cluster may have had something that has not been heard of.
func (k *attachKeeper) gone(ctx context.Context, container, attachment string) error {
	if k.of(attachment) == nil && attachment == container {
		return nil
	}
	k.api.cfg.Networks.Detach(attachment)
	err := k.api.askCluster(ctx, http.MethodDelete, k.api.attachmentPath(attachment), nil, nil)
	if err != nil && !errors.Is(err, api.ErrNotFound) {
		return err
	}
	k.forget(attachment)
	return nil
}

// ReleaseContainers takes the containers of users off the cluster's networks,
// for a node that leaves: its parts of the networks can be removed then.
func (a *API) ReleaseContainers(ctx context.Context) error {
	var bridges []knownNetwork
	var errs []error
	if err := a.askEngine(ctx, "/networks", &bridges); err != nil {
		return err
	}
	for _, b := range bridges {
		if !b.bridge() {
			continue
		}
		var n struct{ Containers map[string]json.RawMessage }
		if err := a.askEngine(ctx, "/networks/"+b.ID, &n); err != nil {
			errs = append(errs, err)
			continue
		}
		for id := range n.Containers {
			errs = append(errs, a.disconnect(ctx, b.ID, id))
		}
	}
	return errors.Join(errs...)
}

func (a *API) disconnect(ctx context.Context, bridge, container string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/networks/"+bridge+"/disconnect", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	body := raw(map[string]any{"Container": container, "Force": true})
	done := kept(func(w http.ResponseWriter) { a.engine.ServeHTTP(w, withBody(r, body)) })
	if done.status >= http.StatusBadRequest && done.status != http.StatusNotFound {
		return done.err()
	}
	return nil
}
