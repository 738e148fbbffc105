// Demo is the small program that `make up` shows and that the tests run: an
// HTTP server that says which replica answers. One static binary is its own
// image: `demo image` writes it as an archive for `docker load`, so that no
// registry and no base image is needed.
//
//	demo [serve] [--listen :8080] [--healthy-after D] [--exit-after D] [--exit-code N]
//	demo health [URL]         for a health check: exit code 0 if URL answers with 200
//	demo echo [--exit-code N] says where it runs, copies its input and ends
//	demo sleep                does nothing until it is told to stop
//	demo lines N              writes N lines of 100 bytes
//	demo cat                  copies its standard input to its standard output
//	demo image TAG...         writes the image to standard output
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	// A process that is number 1 of its container ignores a signal it does not ask for.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	args := append(os.Args[1:], "serve")
	var err error
	switch args[0] {
	case "health":
		err = health(args[1])
	case "echo":
		err = echo(os.Args[2:])
	case "sleep":
		<-ctx.Done()
	case "lines":
		err = writeLines(os.Stdout, args[1])
	case "cat":
		_, err = io.Copy(os.Stdout, os.Stdin)
	case "image":
		err = writeImage(os.Stdout, os.Args[2:])
	default:
		err = serve(ctx, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "serve" {
		args = args[1:]
	}
	flags := flag.NewFlagSet("demo", flag.ExitOnError)
	listen := flags.String("listen", ":8080", "address to listen at")
	healthyAfter := flags.Duration("healthy-after", 0, "answer /health with 503 until then")
	exitAfter := flags.Duration("exit-after", 0, "end by itself after this time")
	exitCode := flags.Int("exit-code", 0, "exit code of that end")
	_ = flags.Parse(args) // it exits by itself

	started := time.Now()
	server := &http.Server{Addr: *listen, Handler: handler(started.Add(*healthyAfter))}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	fmt.Println("listening on", *listen)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		fmt.Println("told to stop")
		return server.Close()
	case <-after(*exitAfter):
		fmt.Println("exits with code", *exitCode)
		os.Exit(*exitCode)
	}
	return nil
}

func writeLines(w io.Writer, number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	for i := range n {
		_, _ = fmt.Fprintf(out, "%099d\n", i) // an error stays with out
	}
	return out.Flush()
}

// after is time.After, except that zero means never.
func after(d time.Duration) <-chan time.Time {
	if d == 0 {
		return nil
	}
	return time.After(d)
}

func handler(healthy time.Time) http.Handler {
	name, _ := os.Hostname()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s, asked by %s\n", name, r.RemoteAddr)
	})
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if time.Now().Before(healthy) {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	})
	return mux
}

func health(url string) error {
	if url == "serve" { // none was given
		url = "http://127.0.0.1:8080/health"
	}
	resp, err := (&http.Client{Timeout: 3 * time.Second}).Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}
