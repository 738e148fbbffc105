package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Image is the tag of the demo image, which every host of a cluster has.
const Image = "swarmctl-demo:latest"

// Tools are the files that a cluster is made of.
type Tools struct {
	Swarmctl string // the program under test
	Demo     string // the demo program, which runs on hosts as well
	Image    string // the demo image, as an archive for `docker load`
}

// Build builds the tools into dir. SWARMCTL_BIN names a swarmctl to take
// instead of building one. Without needSwarmctl only the image is built.
func Build(ctx context.Context, dir string, needSwarmctl bool) (Tools, error) {
	tools := Tools{Swarmctl: os.Getenv("SWARMCTL_BIN"), Demo: filepath.Join(dir, "demo"), Image: filepath.Join(dir, "demo.tar")}
	root, err := goTool(ctx, ".", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return tools, err
	}
	if tools.Swarmctl == "" && needSwarmctl {
		tools.Swarmctl = filepath.Join(dir, "swarmctl")
		if _, err := goTool(ctx, root, "build", "-tags", "hashicorpmetrics", "-o", tools.Swarmctl, "."); err != nil {
			return tools, err
		}
	}
	if _, err := goTool(ctx, root, "build", "-trimpath", "-ldflags", "-s -w", "-o", tools.Demo, "./integration/demo"); err != nil {
		return tools, err
	}
	return tools, writeImage(ctx, tools.Demo, tools.Image)
}

func writeImage(ctx context.Context, demo, archive string) error {
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, demo, "image", Image)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	return cmd.Run()
}

func goTool(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
