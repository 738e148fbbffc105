package hosts

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/docker/docker/client"
)

const engineSocket = "/run/docker.sock"

// engineStart is how long an engine may take to answer: a second on an idle
// machine, several where five of them boot beside a compiler.
const engineStart = 60 * time.Second

// StartEngine starts the host's Docker Engine, which PowerOn does by itself,
// and returns when it answers.
func (h *Host) StartEngine(ctx context.Context) error {
	i := strconv.Itoa(h.index)
	p, err := h.Start("dockerd", "dockerd", "--host=unix://"+engineSocket, "--log-level=warn",
		"--bip=172.31."+i+".1/24", "--default-address-pool=base=172.2"+strconv.Itoa(h.index/8)+".0.0/16,size=24",
		"--cgroup-parent="+h.group(), "--exec-opt=native.cgroupdriver=cgroupfs", "--pidfile=/run/docker.pid")
	if err != nil {
		return err
	}
	h.engine = p
	ctx, cancel := context.WithTimeout(ctx, engineStart)
	defer cancel()
	for !h.engineAnswers(ctx) {
		select {
		case <-p.Done:
			return fmt.Errorf("the engine of %s did not start:\n%s", h.Name, Tail(h.Log("dockerd"), 10))
		case <-ctx.Done():
			return fmt.Errorf("the engine of %s does not answer: %w:\n%s", h.Name, ctx.Err(), Tail(h.Log("dockerd"), 10))
		case <-time.After(20 * time.Millisecond): // its socket appears before it listens: nothing to watch
		}
	}
	return nil
}

// KillEngine ends the host's Docker Engine with SIGKILL. Its containers live
// on, until StartEngine starts an engine that ends them, as Docker's does.
func (h *Host) KillEngine() { h.engine.Kill() }

// EnginePID is the engine's process as seen outside the host.
func (h *Host) EnginePID() int { return h.engine.PID }

func (h *Host) engineAnswers(ctx context.Context) bool {
	c, err := h.Docker(engineSocket)
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.Ping(ctx)
	return err == nil
}

// Engine returns a client of the host's Docker Engine. It finds the engine
// again after a power cycle.
func (h *Host) Engine() (*client.Client, error) { return h.Docker(engineSocket) }

// Docker returns a Docker client for any socket inside the host.
func (h *Host) Docker(socket string) (*client.Client, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.Path(socket))
	}
	transport := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second}
	// The host first: it would set a dialer of its own on the transport.
	return client.NewClientWithOpts(client.WithHost("tcp://"+h.Name+":2375"),
		client.WithHTTPClient(&http.Client{Transport: transport}), client.WithAPIVersionNegotiation())
}

// Load copies an image from a file that `docker load` understands into the host.
func (h *Host) Load(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	c, err := h.Engine()
	if err != nil {
		return err
	}
	defer c.Close()
	resp, err := c.ImageLoad(ctx, f, client.ImageLoadWithQuiet(true))
	if err != nil {
		return fmt.Errorf("load %s into %s: %w", file, h.Name, err)
	}
	return resp.Body.Close()
}
