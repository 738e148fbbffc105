package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/client"
)

const (
	defaultSocket = "unix:///run/swarmctl/swarmctl.sock"
	socketEnv     = "SWARMCTL_SOCKET"
)

// connect makes the client of the daemon's socket; nothing is dialled yet.
func (c *call) connect() error {
	c.socket = one(c.flags, "socket", defaultSocket)
	if strings.HasPrefix(c.socket, "/") {
		c.socket = "unix://" + c.socket
	}
	api, err := client.NewClientWithOpts(client.WithHost(c.socket), client.WithAPIVersionNegotiation())
	if err != nil {
		return &badFlag{msg: fmt.Sprintf("invalid argument %q for \"-H, --socket\" flag: %v", c.socket, err)}
	}
	c.client = api
	return nil
}

// answers reports whether a daemon answers on the socket.
func (c *call) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := c.api().Ping(ctx)
	return err == nil
}

// explain says what to do where the daemon does not answer; every other error
// is passed on as it is.
func (c *call) explain(err error) error {
	if err == nil || !client.IsErrConnectionFailed(err) && !isDialError(err) {
		return err
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return err
	}
	return fmt.Errorf("no swarmctl daemon answers at %s: start one with `swarmctl init` or `swarmctl join`, or `swarmctl daemon` in the foreground", c.socket)
}

// isDialError recognises a socket that may not be opened, which the client
// reports in words of its own.
func isDialError(err error) bool {
	return strings.Contains(err.Error(), "permission denied while trying to connect to the Docker daemon socket")
}
