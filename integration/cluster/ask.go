package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/swarmctl/swarmctl/integration/hosts"
	"github.com/swarmctl/swarmctl/integration/load"
)

// Place is where the demo's clients can run: a Container, a Node itself, or
// the Outside of a cluster.
type Place interface {
	// Demo runs the demo program there and returns what it printed.
	Demo(ctx context.Context, stdin io.Reader, args ...string) (string, error)
	// OnNetwork runs a program of this machine with the network of the place, and
	// returns what it printed.
	OnNetwork(ctx context.Context, args ...string) (string, error)
}

// Demo runs the demo in the container, which is one of the demo's image.
func (c Container) Demo(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return c.Exec(ctx, stdin, append([]string{"/demo"}, args...)...)
}

// OnNetwork runs a program beside the container, whose image has none.
func (c Container) OnNetwork(ctx context.Context, args ...string) (string, error) {
	info, err := c.Node.Docker.ContainerInspect(ctx, c.ID)
	if err != nil {
		return "", err
	}
	return c.Node.Run(ctx, append([]string{"nsenter", "-t", strconv.Itoa(info.State.Pid), "-n"}, args...)...)
}

// Demo runs the demo on the node, beside all containers.
func (n *Node) Demo(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return n.Feed(ctx, stdin, append([]string{n.c.tools.Demo}, args...)...)
}

// OnNetwork runs a program on the node.
func (n *Node) OnNetwork(ctx context.Context, args ...string) (string, error) {
	return n.Run(ctx, args...)
}

// Outside is a machine that is no node and reaches all of them.
type Outside struct {
	*hosts.Outside
	demo string
}

// Outside returns the machine beside the nodes.
func (c *Cluster) Outside() *Outside { return &Outside{c.Rack.Outside(), c.tools.Demo} }

// Demo runs the demo outside.
func (o *Outside) Demo(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return o.Feed(ctx, stdin, append([]string{o.demo}, args...)...)
}

// OnNetwork runs a program outside.
func (o *Outside) OnNetwork(ctx context.Context, args ...string) (string, error) {
	return o.Feed(ctx, nil, args...)
}

// Ask asks from a place. That nobody answers is a result, and no error.
func Ask(ctx context.Context, from Place, cfg load.Config) (load.Result, error) {
	return ask(ctx, from, nil, cfg, "-json")
}

func ask(ctx context.Context, from Place, stdin io.Reader, cfg load.Config, flags ...string) (load.Result, error) {
	var result load.Result
	out, err := from.Demo(ctx, stdin, slices.Concat([]string{"get"}, cfg.Args(), flags)...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &result)
	}
	if err != nil {
		return result, fmt.Errorf("ask %s: %w", cfg.URL, err)
	}
	return result, nil
}

// Load is a client that asks until it is told to stop.
type Load struct {
	stdin  *io.PipeWriter
	done   chan struct{}
	result load.Result
	err    error
}

// Keep begins to ask from a place; it ends with ctx, if not by Stop.
func Keep(ctx context.Context, from Place, cfg load.Config) *Load {
	stdin, tell := io.Pipe()
	l := &Load{stdin: tell, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.result, l.err = ask(ctx, from, stdin, cfg, "-json", "-until-eof")
		_ = stdin.Close() // lets whoever copies to it end
	}()
	return l
}

// Stop ends the asking and returns what came of all of it.
func (l *Load) Stop() (load.Result, error) {
	_ = l.stdin.Close()
	<-l.done
	return l.result, l.err
}

// Resolve returns the addresses of a name, or the names of an address, as a
// place finds them, sorted. Whatever is not found has none.
func Resolve(ctx context.Context, from Place, name string) ([]string, error) {
	out, err := from.Demo(ctx, nil, "resolve", name)
	if err != nil && strings.Contains(err.Error(), "no such host") {
		return nil, nil
	}
	return strings.Fields(out), err
}

// Sink starts a process on the node that reads whatever is sent to port 9000,
// beside all containers.
func (n *Node) Sink() (*hosts.Process, error) { return n.Start("sink", n.c.tools.Demo, "sink") }
