package raftstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/swarmctl/swarmctl/api"
)

// ErrNotSent is wrapped by errors of Config.Forward that are certain: the
// command did not reach the leader, so that it may be sent again.
var ErrNotSent = errors.New("not sent")

var (
	errClosed   = api.Errorf(api.CodeUnavailable, "this manager is shutting down: ask another one")
	errNoLeader = api.Errorf(api.CodeUnavailable, "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.")
	errNotUs    = api.Errorf(api.CodeNotLeader, "this manager is not the leader: ask the leader")
	errTermOver = api.Errorf(api.CodeNotLeader, "this manager's term as the leader is over")
)

// notApplied wraps errors after which a command is certain not to have been,
// and not to be, carried out: it may be proposed again.
type notApplied struct{ error }

func (e notApplied) Unwrap() error { return e.error }

// unknown wraps errors after which a command may have been carried out, or may
// still be: whoever repeats it must be ready to do it twice.
type unknown struct{ err *api.Error }

func (e unknown) Error() string { return e.err.Message }
func (e unknown) Unwrap() error { return e.err }

func unknownf(format string, args ...any) error {
	return unknown{&api.Error{Code: api.CodeUnavailable, Message: fmt.Sprintf(format, args...) + ": the change may or may not have been made: look before you repeat it"}}
}

// IsUnknown reports whether err leaves open if a command was carried out.
func IsUnknown(err error) bool { return errors.As(err, new(unknown)) }

// withCause gives an error of ours the reason for which a context ended.
func withCause(err error, ctx context.Context) error {
	return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
}
