package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/swarmctl/swarmctl/integration/load"
)

// get asks a server as its flags say, and tells who answered. Without -json a
// request that failed is an error.
func get(ctx context.Context, scheme string, args []string) error {
	var cfg load.Config
	flags := flag.NewFlagSet("get", flag.ExitOnError)
	cfg.Flags(flags)
	asJSON := flags.Bool("json", false, "print the result for a program")
	untilEOF := flags.Bool("until-eof", false, "stop when the standard input ends")
	urls := parse(flags, args)
	if len(urls) != 1 {
		return fmt.Errorf("get: give one URL, not %d", len(urls))
	}
	cfg.URL = urls[0]
	if !strings.Contains(cfg.URL, "://") {
		cfg.URL = scheme + "://" + cfg.URL
	}
	switch {
	case *untilEOF:
		ctx = untilInputEnds(ctx)
	case cfg.Requests == 0 && cfg.For == 0:
		cfg.Requests = 1
	}
	result, err := load.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(os.Stdout).Encode(result)
	}
	fmt.Print(result)
	if result.Failed > 0 {
		return fmt.Errorf("get %s: %d requests failed", cfg.URL, result.Failed)
	}
	return nil
}

func untilInputEnds(ctx context.Context) context.Context {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return ctx
}

// parse reads flags that may stand behind what is no flag, which it returns.
func parse(flags *flag.FlagSet, args []string) (rest []string) {
	for {
		_ = flags.Parse(args) // it exits by itself
		if flags.NArg() == 0 {
			return rest
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
}

// resolveTime is longer than a resolver waits for one name server.
const resolveTime = 8 * time.Second

// resolve prints the addresses of each name, and the names of each address, one
// a line.
func resolve(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	for _, name := range names {
		find := net.DefaultResolver.LookupHost
		if _, err := netip.ParseAddr(name); err == nil {
			find = net.DefaultResolver.LookupAddr
		}
		found, err := find(ctx, name)
		if err != nil {
			return err
		}
		slices.Sort(found)
		fmt.Println(strings.Join(slices.Compact(found), "\n"))
	}
	return nil
}
