package raftstore

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// The connections in the pool may be stale in two ways: the other end resets
// them at once, or they were cut off meanwhile and nothing ever comes back.
func TestQuestionGetsPastStaleConnections(t *testing.T) {
	const answered, reset, silent = 0, 1, 2
	errReset, errTimeout := errors.New("reset"), errors.New("timed out")
	for _, c := range []struct {
		story string
		pool  []int // what becomes of the first, the second, ... question
		err   error
		after time.Duration
	}{
		{"all is well", []int{answered}, nil, 0},
		{"the peer has restarted", []int{reset, reset, answered}, nil, 0},
		{"the cable was out", []int{silent, silent, answered}, nil, 2 * hedge},
		{"both", []int{silent, reset, answered}, nil, hedge},
		{"the peer is gone", []int{reset, reset, reset, reset, reset, reset}, errReset, 0},
		{"the peer has no power", []int{silent, silent, silent, silent, silent, silent}, errTimeout, 5*hedge + time.Second},
	} {
		t.Run(c.story, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				start, got := time.Now(), 0
				err := firstAnswer(&got, func(answer *int) error {
					n := asked.Add(1)
					switch c.pool[n-1] {
					case reset:
						return errReset
					case silent:
						time.Sleep(time.Second)
						return errTimeout
					}
					*answer = int(n)
					return nil
				})
				if err != c.err || time.Since(start) != c.after || err == nil && got != len(c.pool) {
					t.Errorf("answer %d, error %v after %v; want %v after %v", got, err, time.Since(start), c.err, c.after)
				}
				time.Sleep(time.Second) // those without an answer end too
			})
		})
	}
}

// Raft takes no answers after a no, but may be about to send.
func TestPipelineEndsWithTheFirstNo(t *testing.T) {
	follower := newTestTransport(t)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case rpc := <-follower.Consumer():
				rpc.Respond(&raft.AppendEntriesResponse{Term: 1, NoRetryBackoff: true}, nil)
			case <-done:
				return
			}
		}
	}()
	leader := transport{NetworkTransport: newTestTransport(t)}
	p, err := leader.AppendEntriesPipeline("b", follower.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	send := func() error {
		_, err := p.AppendEntries(leader.request(1), new(raft.AppendEntriesResponse))
		return err
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	if answer := <-p.Consumer(); answer.Response().Success {
		t.Fatal("the follower said yes")
	}
	for range 4 * raft.DefaultMaxRPCsInFlight { // more than find room under way
		if err = send(); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("the pipeline takes entries for a follower that said no")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func newTestTransport(t *testing.T) *raft.NetworkTransport {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	trans := raft.NewNetworkTransport(plainTCP{lis}, poolSize, time.Minute, io.Discard)
	t.Cleanup(func() { _ = trans.Close() })
	return trans
}

// plainTCP is a raft.StreamLayer.
type plainTCP struct{ net.Listener }

func (plainTCP) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(addr), timeout)
}
