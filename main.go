// Swarmctl orchestrates containers over several hosts: `swarmctl init`,
// `swarmctl join`, `swarmctl service create`. This file parses nothing and
// decides nothing: it hands the command line to cli and the daemon to
// manager/daemon.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/swarmctl/swarmctl/cli"
	"github.com/swarmctl/swarmctl/manager/daemon"
)

// version is set by the linker: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	app := cli.App{Version: version, Daemon: runDaemon}
	os.Exit(app.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func runDaemon(ctx context.Context, c cli.DaemonConfig) error {
	return daemon.Run(ctx, daemon.Config{
		StateDir: c.StateDir, Socket: c.Socket, EngineHost: c.EngineHost,
		Nice: c.Nice, Starts: c.Starts, Version: c.Version, Log: c.Log,
	})
}
