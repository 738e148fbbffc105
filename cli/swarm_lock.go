package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/docker/docker/api/types/swarm"
	"github.com/moby/term"
)

// printUnlock tells what the operator must keep.
func (c *call) printUnlock(ctx context.Context) error {
	key, err := c.unlockKey(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "To unlock a swarm manager after it restarts, run the `%s unlock`\ncommand and provide the following key:\n\n    %s\n\n"+
		"Remember to store this key in a password manager, since without it you\nwill not be able to restart the manager.\n", progName, key)
	return nil
}

func (c *call) unlockKey(ctx context.Context) (string, error) {
	got, err := c.api().SwarmGetUnlockKey(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("could not fetch unlock key: %w", err)
	case got.UnlockKey == "":
		return "", errors.New("no unlock key is set")
	}
	return got.UnlockKey, nil
}

func swarmUnlockKey(ctx context.Context, c *call) error {
	quiet := c.flags.yes("quiet")
	if c.flags.yes("rotate") {
		err := c.changeSwarm(ctx, swarm.UpdateFlags{RotateManagerUnlockKey: true}, func(sw *swarm.Swarm) error {
			if !sw.Spec.EncryptionConfig.AutoLockManagers {
				return errors.New("cannot rotate because autolock is not turned on")
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !quiet {
			fmt.Fprintln(c.out, "Successfully rotated manager unlock key.")
		}
	}
	if !quiet {
		return c.printUnlock(ctx)
	}
	key, err := c.unlockKey(ctx)
	if err == nil {
		fmt.Fprintln(c.out, key)
	}
	return err
}

func swarmUnlock(ctx context.Context, c *call) error {
	info, err := c.api().Info(ctx)
	switch {
	case err != nil:
		return err
	case info.Swarm.LocalNodeState == swarm.LocalNodeStateInactive:
		return errors.New("Error: This node is not part of a swarm") //nolint:staticcheck // Docker's words
	case info.Swarm.LocalNodeState != swarm.LocalNodeStateLocked:
		return errors.New("Error: swarm is not locked") //nolint:staticcheck // Docker's words
	}
	key, err := c.readSecret("Enter unlock key: ")
	if err != nil {
		return err
	}
	return c.api().SwarmUnlock(ctx, swarm.UnlockRequest{UnlockKey: key})
}

// readSecret reads a line, which a terminal is asked for and does not show.
func (c *call) readSecret(prompt string) (string, error) {
	if f, ok := c.in.(*os.File); ok && term.IsTerminal(f.Fd()) {
		saved, err := term.SaveState(f.Fd())
		if err != nil {
			return "", err
		}
		fmt.Fprint(c.out, prompt)
		if err := term.DisableEcho(f.Fd(), saved); err != nil {
			return "", err
		}
		defer fmt.Fprintln(c.out)
		defer func() { _ = term.RestoreTerminal(f.Fd(), saved) }()
	}
	line, err := bufio.NewReader(c.in).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return strings.TrimSpace(line), err
}
