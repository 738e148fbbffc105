package raftstore

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLog lets raft log through slog. Raft tells of its inner life up to level
// warn, and reports a dead peer several times a second as an error: here its
// errors are warnings, each text at most once a minute, and all else is debug.
type raftLog struct {
	log  *slog.Logger
	name string
	args []any
	seen *seen
	end  <-chan struct{} // closed when the Store ends: what fails then is meant to
}

const repeatAfter = time.Minute

// seen remembers when each message was last logged as a warning. There are as
// many as there are messages in raft's sources.
type seen struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newRaftLog(log *slog.Logger, end <-chan struct{}) *raftLog {
	return &raftLog{log: log, name: "raft", seen: &seen{last: map[string]time.Time{}}, end: end}
}

func (s *seen) repeats(msg string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.last[msg]) < repeatAfter {
		return true
	}
	s.last[msg] = now
	return false
}

func (l *raftLog) ended() bool {
	select {
	case <-l.end:
		return true
	default:
		return false
	}
}

// Log implements hclog.Logger.
func (l *raftLog) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	if level >= hclog.Error && !l.ended() && !l.seen.repeats(msg) {
		to = slog.LevelWarn
	}
	if !l.log.Enabled(context.Background(), to) {
		return
	}
	args = append(l.args[:len(l.args):len(l.args)], args...)
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	l.log.Log(context.Background(), to, msg, args...)
}

// Trace implements hclog.Logger.
func (l *raftLog) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }

// Debug implements hclog.Logger.
func (l *raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }

// Info implements hclog.Logger.
func (l *raftLog) Info(msg string, args ...any) { l.Log(hclog.Info, msg, args...) }

// Warn implements hclog.Logger.
func (l *raftLog) Warn(msg string, args ...any) { l.Log(hclog.Warn, msg, args...) }

// Error implements hclog.Logger.
func (l *raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

// IsTrace implements hclog.Logger.
func (l *raftLog) IsTrace() bool { return false }

// IsDebug implements hclog.Logger.
func (l *raftLog) IsDebug() bool { return l.log.Enabled(context.Background(), slog.LevelDebug) }

// IsInfo implements hclog.Logger.
func (l *raftLog) IsInfo() bool { return l.IsDebug() }

// IsWarn implements hclog.Logger.
func (l *raftLog) IsWarn() bool { return true }

// IsError implements hclog.Logger.
func (l *raftLog) IsError() bool { return true }

// ImpliedArgs implements hclog.Logger.
func (l *raftLog) ImpliedArgs() []any { return l.args }

// With implements hclog.Logger.
func (l *raftLog) With(args ...any) hclog.Logger {
	c := *l
	c.args = append(l.args[:len(l.args):len(l.args)], args...)
	return &c
}

// Name implements hclog.Logger.
func (l *raftLog) Name() string { return l.name }

// Named implements hclog.Logger.
func (l *raftLog) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

// ResetNamed implements hclog.Logger.
func (l *raftLog) ResetNamed(name string) hclog.Logger {
	c := *l
	c.name = name
	return &c
}

// SetLevel implements hclog.Logger: the level is slog's to decide.
func (l *raftLog) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (l *raftLog) GetLevel() hclog.Level {
	if l.IsDebug() {
		return hclog.Debug
	}
	return hclog.Warn
}

// StandardLogger implements hclog.Logger.
func (l *raftLog) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.log.Handler(), slog.LevelDebug)
}

// StandardWriter implements hclog.Logger.
func (l *raftLog) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(o).Writer()
}
