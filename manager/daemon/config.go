package daemon

import (
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// Config is what a daemon is told from outside; see the flags of `swarmctl daemon`.
type Config struct {
	// StateDir holds everything that must survive a restart.
	StateDir string
	// Socket is where the Docker API is served: unix:///path.
	Socket string
	// EngineHost is the container engine: unix:///path or tcp://host:port.
	// Empty means DOCKER_HOST, and without that the engine's usual socket.
	EngineHost string
	// Nice is the scheduling priority that the daemon gives itself, as nice(1)
	// counts it: -20 to 19. Less lets heartbeats through on a host whose cores
	// are all busy; containers are the engine's children and do not inherit it.
	// It takes root to go below 0; where that fails the daemon runs as it is.
	Nice int
	// Starts is how many containers are started at once; 0 leaves it to the worker.
	Starts int
	// Version is the program's own.
	Version string
	Log     *slog.Logger
}

// DefaultConfig is fit to run.
func DefaultConfig() Config {
	return Config{
		StateDir: "/var/lib/swarmctl",
		Socket:   "unix:///run/swarmctl/swarmctl.sock",
		Nice:     -10,
		Version:  "dev",
		Log:      slog.New(slog.DiscardHandler),
	}
}

// filesDir is where secrets and configs of tasks lie: beside the socket, and
// after its name, so that two daemons on one host do not share it.
func (c *Config) filesDir() string {
	socket := strings.TrimPrefix(c.Socket, "unix://")
	if abs, err := filepath.Abs(socket); err == nil {
		socket = abs
	}
	return strings.TrimSuffix(socket, ".sock") + ".tasks"
}

// Validate names the first field that cannot be.
func (c *Config) Validate() error {
	switch {
	case c.StateDir == "":
		return api.Errorf(api.CodeInvalid, "the state directory is empty: give one with --state-dir")
	case !strings.HasPrefix(c.Socket, "unix://") || len(c.Socket) == len("unix://"):
		return api.Errorf(api.CodeInvalid, "socket %q: give --socket a path as unix:///run/swarmctl/swarmctl.sock", c.Socket)
	case c.Nice < -20 || c.Nice > 19:
		return api.Errorf(api.CodeInvalid, "nice %d: give --nice a number from -20 to 19", c.Nice)
	case c.Log == nil:
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
