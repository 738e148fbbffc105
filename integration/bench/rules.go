package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

var (
	lineLoaded  = line{"1,000 services of 10 tasks on one node: rules loaded", "s", "<= 2 s"}
	lineChanged = line{"1,000 services of 10 tasks on one node: one endpoint changed", "ms", "<= 50 ms"}
)

// The measurements in network/balance.
const (
	benchLoad   = "Load1000ServicesOf10"
	benchChange = "OneEndpointOf10000Changes"
)

// rules runs the measurement of network/balance, which needs a kernel and no
// cluster.
func (b *bench) rules(ctx context.Context) error {
	if b.who != ours {
		return nil
	}
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark("+benchLoad+"|"+benchChange+")$", "-benchtime", "10x", "./network/balance").CombinedOutput()
	if err != nil {
		return fmt.Errorf("measure network/balance: %w\n%s", err, out)
	}
	for name, m := range map[string]struct {
		line line
		unit float64 // in nanoseconds
	}{benchLoad: {lineLoaded, 1e9}, benchChange: {lineChanged, 1e6}} {
		found := regexp.MustCompile(`(?m)^Benchmark` + name + `\S*\s+\d+\s+([0-9.]+) ns/op`).FindSubmatch(out)
		if found == nil {
			return fmt.Errorf("network/balance has no measurement %s:\n%s", name, out)
		}
		took, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			return err
		}
		b.results.add(m.line, b.who, took/m.unit)
	}
	return nil
}
