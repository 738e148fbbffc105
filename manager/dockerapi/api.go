package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
)

// API is the http.Handler of the daemon's socket.
type API struct {
	cfg      Config
	engine   http.Handler // the pass-through
	registry http.Handler // the pass-through to where only so long is waited
	client   *http.Client // our own questions to the engine
	node     http.Handler // what each node answers for itself
	cluster  http.Handler // what the leader answers
	manager  http.Handler // what any manager answers
	log      *eventLog
	keeper   *attachKeeper

	lastPing atomic.Pointer[enginePing]
}

// New returns the API.
func New(cfg Config) (*API, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a := &API{
		cfg:      cfg,
		engine:   NewProxy(cfg.DialEngine, cfg.Log, engineDown),
		registry: NewProxy(cfg.DialEngine, cfg.Log, cfg.registryDown),
		client:   &http.Client{Transport: newEngineTransport(cfg.DialEngine)},
		log:      newEventLog(),
	}
	a.keeper = newAttachKeeper(a)
	a.node, a.cluster, a.manager = a.nodeRoutes(), a.clusterRoutes(), a.managerRoutes()
	return a, nil
}

func engineDown(err error) string {
	return fmt.Sprintf("the container engine of this node does not answer (is Docker running?): %v", err)
}

func (c *Config) registryDown(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("the registry did not answer within %s", c.RegistryPatience)
	}
	return engineDown(err)
}
