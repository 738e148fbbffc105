package raftstore

import (
	"sync"

	"github.com/hashicorp/raft"
)

// pipeline is raft's pipeline to a follower, closed as soon as the follower
// says no. Raft stops to take answers then, but may have one more batch to
// send at that moment, and would wait for ever until a pipeline that nobody
// reads from takes it: the follower would get heartbeats and no entries until
// another node leads, and the Store would never end
// (https://github.com/grafana/pyroscope/pull/5518 tells of both).
type pipeline struct {
	raft.AppendPipeline
	answers chan raft.AppendFuture
	over    chan struct{}
	close   func() error
}

// AppendEntriesPipeline implements raft.Transport.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.NetworkTransport.AppendEntriesPipeline(id, addr)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: inner, answers: make(chan raft.AppendFuture), over: make(chan struct{})}
	p.close = sync.OnceValue(func() error {
		close(p.over)
		return inner.Close()
	})
	go p.relay()
	return p, nil
}

// relay hands the answers on, up to the first that is a no or none at all.
func (p *pipeline) relay() {
	for {
		select {
		case answer := <-p.AppendPipeline.Consumer():
			select {
			case p.answers <- answer:
			case <-p.over:
				return
			}
			if !answer.Response().Success {
				_ = p.Close()
				return
			}
		case <-p.over:
			return
		}
	}
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close implements raft.AppendPipeline. Calls after the first do nothing.
func (p *pipeline) Close() error { return p.close() }
