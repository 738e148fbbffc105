// Demo is the small program that `make up` shows and that the tests run: an
// HTTP server that says which replica answers, and whom it sees. One static
// binary is its own image: `demo image` writes it as an archive for `docker
// load`, so that no registry and no base image is needed.
//
//	demo [serve] [--listen :8080] [--ready-after D] [--healthy-after D] [--exit-after D] [--exit-code N]
//	demo health [URL]         for a health check: exit code 0 if URL answers with 200
//	demo get URL [-n N | -for D] [-c N] [-rate N] [-pause D] [-keepalive] [-timeout D] [-json] [-until-eof]
//	                          asks, and says who answered, whom they saw, what failed
//	demo udp HOST:PORT        the same with datagrams; -size N says how large
//	demo resolve NAME...      prints the addresses of names, or the names of addresses
//	demo sink [--listen :9000], demo pump HOST:PORT [-for D] [-c N]
//	                          sends as fast as it goes, and prints bytes a second
//	demo echo [--exit-code N] says where it runs, copies its input and ends
//	demo sleep                does nothing until it is told to stop
//	demo lines N              writes N lines of 100 bytes
//	demo write FILE TEXT      writes a text into a file
//	demo cat [FILE...]        copies files, or its standard input, to its standard output
//	demo image TAG...         writes the image to standard output
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	// A process that is number 1 of its container ignores a signal it does not ask for.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	verb, args := "serve", os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		verb, args = args[0], args[1:]
	}
	if err := do(ctx, verb, args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func do(ctx context.Context, verb string, args []string) error {
	switch verb {
	case "serve":
		return serve(ctx, args)
	case "health":
		return health(args)
	case "get":
		return get(ctx, "http", args)
	case "udp":
		return get(ctx, "udp", args)
	case "resolve":
		return resolve(ctx, args)
	case "sink":
		return sink(ctx, args)
	case "pump":
		return pump(args)
	case "echo":
		return echo(args)
	case "sleep":
		<-ctx.Done()
		return nil
	case "lines":
		return writeLines(os.Stdout, args)
	case "cat":
		return cat(os.Stdout, args)
	case "write":
		return write(args)
	case "image":
		return writeImage(os.Stdout, args)
	}
	return fmt.Errorf("demo: no verb %q", verb)
}

func cat(w io.Writer, names []string) error {
	if len(names) == 0 {
		_, err := io.Copy(w, os.Stdin)
		return err
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return nil
}

func write(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("write: give a file and a text, not %d arguments", len(args))
	}
	return os.WriteFile(args[0], []byte(args[1]), 0o600)
}

func writeLines(w io.Writer, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("lines: give one number, not %d", len(args))
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	for i := range n {
		_, _ = fmt.Fprintf(out, "%099d\n", i) // an error stays with out
	}
	return out.Flush()
}
