package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// nodeFlags are those of a node's daemon that init and join hand on to the
// daemon they start.
func nodeFlags() []*opt {
	return []*opt{
		{name: "state-dir", kind: stringKind, env: "SWARMCTL_STATE_DIR", def: defaultStateDir, usage: "Where this node keeps its identity, its log and its state"},
		{name: "engine-host", kind: stringKind, env: "DOCKER_HOST", def: defaultEngine, usage: "The Docker Engine of this host"},
		{name: "log-level", kind: levelKind, env: "SWARMCTL_LOG_LEVEL", def: `"info"`, usage: `What the daemon logs ("debug", "info", "warn", "error")`},
		{name: "log-format", kind: logFormatKind, env: "SWARMCTL_LOG_FORMAT", def: `"text"`, usage: `How the daemon logs ("text", "json")`},
		{name: "nice", kind: intKind, env: "SWARMCTL_NICE", def: "-10", usage: "The daemon's scheduling priority, -20 (first) to 19 (last)"},
		{name: "starts", kind: intKind, env: "SWARMCTL_STARTS", def: "0: what the engine digests", usage: "How many containers are started at once"},
	}
}

const (
	defaultStateDir = "/var/lib/swarmctl"
	defaultEngine   = "unix:///var/run/docker.sock"
	defaultNice     = -10 // heartbeats get through where containers keep all cores busy
)

var (
	levelKind     = kind{"string", false, parser(parseLevel)}
	logFormatKind = kind{"string", false, parser(parseLogFormat)}
)

func parseLevel(s string) (string, error) {
	var l slog.Level
	return s, l.UnmarshalText([]byte(s))
}

func parseLogFormat(s string) (string, error) {
	if s != "text" && s != "json" {
		return "", fmt.Errorf("unknown log format %q: use text or json", s)
	}
	return s, nil
}

func daemonVerb() verb {
	return verb{
		name: "daemon", usage: "Run a node in the foreground", do: runDaemon,
		long: "For systemd units and containers; `init` and `join` start it by themselves. A node that is\na member takes up its work, one that is not waits for init or join.",
		flags: slices.Concat(nodeFlags(), []*opt{
			{name: "stop", kind: boolKind, usage: "Stop the daemon that serves the socket; the node stays a member and its containers run on"},
		}),
	}
}

func runDaemon(ctx context.Context, c *call) error {
	if c.flags.yes("stop") {
		return c.stopDaemon(ctx)
	}
	if c.app.Daemon == nil {
		return errors.New("this build of swarmctl has no daemon")
	}
	stateDir, err := filepath.Abs(one(c.flags, "state-dir", defaultStateDir))
	if err != nil {
		return err
	}
	return c.app.Daemon(ctx, DaemonConfig{
		StateDir: stateDir, Socket: c.socket, EngineHost: one(c.flags, "engine-host", defaultEngine),
		Nice: one(c.flags, "nice", defaultNice), Starts: one(c.flags, "starts", 0), Version: c.app.Version,
		Log: newLog(c.err, c.flags),
	})
}

// newLog makes the daemon's logger. Under systemd the journal has the time.
func newLog(w io.Writer, g given) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(one(g, "log-level", "info"))) // checked when it was parsed
	opts := &slog.HandlerOptions{Level: level}
	if os.Getenv("JOURNAL_STREAM") != "" {
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	if one(g, "log-format", "text") == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
