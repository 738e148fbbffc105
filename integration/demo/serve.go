package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/swarmctl/swarmctl/integration/load"
)

// goodbye is for what is being answered when the server is told to stop.
const goodbye = 8 * time.Second // Docker waits ten

func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("demo", flag.ExitOnError)
	listen := flags.String("listen", ":8080", "address to listen at, for HTTP and for datagrams")
	readyAfter := flags.Duration("ready-after", 0, "listen only then")
	healthyAfter := flags.Duration("healthy-after", 0, "answer /health with 503 until then")
	exitAfter := flags.Duration("exit-after", 0, "end by itself after this time")
	exitCode := flags.Int("exit-code", 0, "exit code of that end")
	_ = flags.Parse(args) // it exits by itself

	healthy, exit := time.Now().Add(*healthyAfter), after(*exitAfter)
	if *readyAfter > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(*readyAfter):
		}
	}
	name, _ := os.Hostname()
	datagrams, err := net.ListenPacket("udp", *listen)
	if err != nil {
		return err
	}
	go load.Echo(datagrams, name) // ends with the program
	server := &http.Server{Addr: *listen, Handler: handler(name, healthy)}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	fmt.Println("listening on", *listen)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		fmt.Println("told to stop")
		return finish(server)
	case <-exit:
		fmt.Println("exits with code", *exitCode)
		os.Exit(*exitCode)
	}
	return nil
}

// finish lets the server end what it is answering, but not for long.
func finish(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if server.Shutdown(ctx) == nil {
		return nil
	}
	return server.Close()
}

// after is time.After, except that zero means never.
func after(d time.Duration) <-chan time.Time {
	if d == 0 {
		return nil
	}
	return time.After(d)
}

func handler(name string, healthy time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, load.Answer(name, r.RemoteAddr))
	})
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if time.Now().Before(healthy) {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	})
	return mux
}

func health(args []string) error {
	url := "http://127.0.0.1:8080/health"
	if len(args) > 0 {
		url = args[0]
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
