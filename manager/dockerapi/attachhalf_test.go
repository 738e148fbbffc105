package dockerapi_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// The engine makes a container whether or not its caller waits for it.
func TestTheContainerOfAVanishedCallerKeepsItsAddress(t *testing.T) {
	c, b, _ := withContainers(t)
	asked, gone := make(chan struct{}), make(chan struct{})
	b.before = func(call string) {
		if call == "POST /containers/create" {
			close(asked)
			<-gone
		}
	}
	c.keep()
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(gone) })
		c.api.ServeHTTP(w, r)
	}))
	ctx, vanish := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1.41/containers/create?name=box", strings.NewReader(`{"Image":"demo:1","HostConfig":{"NetworkMode":"ov"}}`))
	c.must(err)
	go func() {
		<-asked
		vanish()
	}()
	if _, err := http.DefaultTransport.RoundTrip(req); err == nil {
		t.Fatal("the caller has heard an answer")
	}
	c.awaitAttachments("box on node1: ov [10.0.1.3] [000000000000]")
}

func TestWhatTheEngineDidWithoutAnAnswerIsFoundOut(t *testing.T) {
	c, b, _ := withContainers(t)
	b.lose = true
	c.keep()
	_, err := c.run("box", "ov", nil)
	if !errdefs.IsUnavailable(err) {
		t.Errorf("an answer that is lost: %v", err)
	}
	c.awaitAttachments("box on node1: ov [10.0.1.3] [000000000000]")
	c.network("second", network.CreateOptions{Driver: "overlay", Attachable: true})
	if err := c.docker.NetworkConnect(t.Context(), "second", "box", nil); !errdefs.IsUnavailable(err) {
		t.Errorf("an answer that is lost: %v", err)
	}
	c.awaitAttachments("box on node1: ov [10.0.1.3] [000000000000] second [10.0.3.3] [000000000000]")
}

func TestWhatTheEngineDidNotDoIsGivenBackLater(t *testing.T) {
	c, b, _ := withContainers(t)
	b.noImage = true
	c.keep()
	var once sync.Once
	c.store.mu.Lock()
	c.store.before = func(op *state.Op) (err error) {
		if op.DeleteAttached != nil {
			once.Do(func() { err = api.Errorf(api.CodeUnavailable, "there is no leader") })
		}
		return err
	}
	c.store.mu.Unlock()
	_, err := c.run("box", "ov", nil)
	wantError(t, err, errdefs.IsNotFound, "No such image: demo:1")
	c.awaitAttachments()
}

// Whoever connects a container says all of the networks that it is on.
func TestAContainerIsConnectedToOneNetworkAfterTheOther(t *testing.T) {
	c, b, _ := withContainers(t)
	c.network("second", network.CreateOptions{Driver: "overlay", Attachable: true})
	b.containers["c1"] = &boxed{ID: "c1", Name: "/box"}
	first, second := make(chan struct{}), make(chan struct{})
	inspected := 0
	var mu sync.Mutex
	b.before = func(call string) {
		mu.Lock()
		if call == "GET /containers/box/json" {
			if inspected++; inspected == 2 {
				close(second)
			}
		}
		mu.Unlock()
		if call == "POST /networks/ov/connect" {
			close(first)
			<-second
		}
	}
	c.keep()
	var told [][]api.Attachment
	c.store.mu.Lock()
	c.store.before = func(op *state.Op) error {
		if op.PutAttached != nil {
			told = append(told, op.PutAttached.Networks)
		}
		return nil
	}
	c.store.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		if err := c.docker.NetworkConnect(t.Context(), "ov", "box", nil); err != nil {
			t.Error(err)
		}
	})
	<-first
	both.Go(func() {
		if err := c.docker.NetworkConnect(t.Context(), "second", "box", nil); err != nil {
			t.Error(err)
		}
	})
	both.Wait()
	c.awaitAttachments("box on node1: ov [10.0.1.3] [c1] second [10.0.3.3] [c1]")
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	for i, list := range told[1:] {
		for _, at := range told[i] {
			if fabric.In(list, at.Network) == nil {
				t.Errorf("the cluster was told to take an address back that is in use: %v after %v", list, told[i])
			}
		}
	}
}

func TestARequestThatNamesNoContainerIsRefused(t *testing.T) {
	c, b, _ := withContainers(t)
	b.bridge(c.store.View().NetworkByName("ov"))
	for _, verb := range []string{"connect", "disconnect"} {
		res, err := http.Post(c.url+"/v1.41/networks/ov/"+verb, "application/json", strings.NewReader(`{}`))
		c.must(err)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", verb, res.Status)
		}
	}
}
