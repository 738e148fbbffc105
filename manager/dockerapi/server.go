package dockerapi

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// headerPatience bounds how long a client may hold a connection without
	// having said what it wants.
	headerPatience = 30 * time.Second
	// idlePatience is how long a connection between requests stays. Longer than
	// any client keeps its own, so that none is closed under a request.
	idlePatience = 10 * time.Minute
)

// NewServer returns a server of the API, or of the forwarded half of it, whose
// requests live in ctx. It does not wait for ever for clients, nor do they fill
// its log. There is no limit to how long an answer takes: logs are followed.
func NewServer(ctx context.Context, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerPatience,
		IdleTimeout:       idlePatience,
		ErrorLog:          ServerLog(log),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
}

// ServerLog is the ErrorLog of a server or proxy of net/http. What callers can
// bring about as often as they like is told at debug level; a handler that
// panics is the program's own fault and is told as one.
func ServerLog(to *slog.Logger) *log.Logger { return log.New(serverLog{to}, "", 0) }

type serverLog struct{ to *slog.Logger }

// Write implements io.Writer; a write is a message.
func (l serverLog) Write(message []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(message, []byte("http: panic ")) {
		level = slog.LevelError
	}
	l.to.Log(context.Background(), level, "serve HTTP", "err", string(bytes.TrimSpace(message)))
	return len(message), nil
}
