package load

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serverOf answers as a demo of this name does.
func serverOf(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, Answer(name, r.RemoteAddr))
	}))
	t.Cleanup(s.Close)
	return s
}

func ask(t *testing.T, cfg Config) Result {
	t.Helper()
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCountsWhoAnsweredAndWhomTheySaw(t *testing.T) {
	r := ask(t, Config{URL: serverOf(t, "one").URL, Requests: 100, Clients: 4})
	if r.Answers != 100 || r.By["one"] != 100 || r.Seen["127.0.0.1"] != 100 || r.Failed != 0 || r.Connections != 100 {
		t.Errorf("%+v", r)
	}
	if r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 {
		t.Errorf("took %s, %s, %s", r.P50, r.P99, r.Max)
	}
}

func TestKeepAliveUsesOneConnectionAClient(t *testing.T) {
	if r := ask(t, Config{URL: serverOf(t, "one").URL, Requests: 100, Clients: 4, KeepAlive: true}); r.Answers != 100 || r.Connections > 4 {
		t.Errorf("%+v", r)
	}
}

func TestConnectionClosedWhileIdleIsNoFailure(t *testing.T) {
	s := serverOf(t, "one")
	var answered atomic.Int64
	handler := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
		if answered.Add(1)%10 == 0 {
			go s.CloseClientConnections()
		}
	})
	if r := ask(t, Config{URL: s.URL, Requests: 50, Rate: 200, KeepAlive: true}); r.Answers+r.Failed != 50 || r.Connections < 2 {
		t.Errorf("%+v", r)
	}
}

func TestFailuresAreTold(t *testing.T) {
	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	for url, why := range map[string]string{broken.URL: "404", "http://" + free.Addr().String(): "refused"} {
		r := ask(t, Config{URL: url, Requests: 3})
		if r.Failed != 3 || len(r.Failures) != 3 || !strings.Contains(r.Failures[0].Error, why) || !strings.Contains(r.String(), why) {
			t.Errorf("%s: %+v", url, r)
		}
	}
	if _, err := Run(t.Context(), Config{URL: "ftp://127.0.0.1"}); err == nil {
		t.Error("asks over FTP")
	}
}

func TestDatagramsComeBackWhole(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go Echo(conn, "one")
	r := ask(t, Config{URL: "udp://" + conn.LocalAddr().String(), Requests: 20, Clients: 2, Size: 1400})
	if r.Answers != 20 || r.By["one"] != 20 || r.Seen["127.0.0.1"] != 20 || r.Failed != 0 {
		t.Errorf("%+v", r)
	}
}

func TestRateAndTimeAreKept(t *testing.T) {
	r := ask(t, Config{URL: serverOf(t, "one").URL, For: time.Second / 2, Rate: 100, Clients: 3})
	if r.Answers > 51 || r.Answers < 5 {
		t.Errorf("%d answers in half a second at 100 a second", r.Answers)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r, err := Run(ctx, Config{URL: serverOf(t, "one").URL}); err != nil || r.Answers == 0 || r.Failed != 0 {
		t.Errorf("until it was stopped: %+v, %v", r, err)
	}
}

func TestArgsSayTheWholeConfig(t *testing.T) {
	want := Config{URL: "http://web", Requests: 1, For: time.Minute, Clients: 2, KeepAlive: true, Rate: 3, Pause: time.Hour, Timeout: time.Second, Size: 4}
	args := want.Args()
	got := Config{URL: args[0]}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	got.Flags(flags)
	if err := flags.Parse(args[1:]); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}
