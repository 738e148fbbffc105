package dockerapi

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

// API is the http.Handler of the daemon's socket.
type API struct {
	cfg     Config
	engine  http.Handler // the pass-through
	client  *http.Client // our own questions to the engine
	node    http.Handler // what each node answers for itself
	cluster http.Handler // what the leader answers

	// lastPing holds the headers of the engine's last answer to a ping: what
	// the API can do, told also while the engine is down.
	lastPing atomic.Pointer[http.Header]
}

// New returns the API.
func New(cfg Config) (*API, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a := &API{
		cfg:    cfg,
		engine: NewProxy(cfg.DialEngine, cfg.Log, engineDown),
		client: &http.Client{Transport: newTransport(cfg.DialEngine)},
	}
	a.node, a.cluster = a.nodeRoutes(), a.clusterRoutes()
	return a, nil
}

func engineDown(err error) string {
	return fmt.Sprintf("the container engine of this node does not answer (is Docker running?): %v", err)
}
