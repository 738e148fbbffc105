package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Exec runs a command in the container, asked of its engine, and returns what
// it printed. The error of a command that failed carries its standard error.
func (c Container) Exec(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	made, err := c.Node.Docker.ContainerExecCreate(ctx, c.ID, container.ExecOptions{
		Cmd: args, AttachStdin: stdin != nil, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return "", err
	}
	conn, err := c.Node.Docker.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	if stdin != nil {
		go feed(conn, stdin)
	}
	var out, errs bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errs, conn.Reader); err != nil {
		return out.String(), fmt.Errorf("%s: what it prints: %w", c.describe(args), err)
	}
	end, err := c.Node.Docker.ContainerExecInspect(ctx, made.ID)
	if err == nil && end.ExitCode != 0 {
		err = fmt.Errorf("%s: exit code %d: %s%s", c.describe(args), end.ExitCode, out.String(), errs.String())
	}
	return out.String(), err
}

// feed ends with its reader, or with the connection.
func feed(conn types.HijackedResponse, stdin io.Reader) {
	_, _ = io.Copy(conn.Conn, stdin)
	_ = conn.CloseWrite()
}

func (c Container) describe(args []string) string {
	return fmt.Sprintf("container %.12s of service %s on %s: %s", c.ID, c.Service, c.Node.Name, strings.Join(args, " "))
}
