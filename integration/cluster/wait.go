package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// look is how often Eventually asks. It is for questions that have no event
// to wait for, such as "does its socket answer"; for containers there is Watch.
const look = 50 * time.Millisecond

type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Final makes an error that Eventually does not wait out.
func Final(err error) error { return final{err} }

// Eventually asks again and again until f returns nil, and gives up after the
// time with f's last error.
func Eventually(ctx context.Context, patience time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if fatal := (final{}); errors.As(err, &fatal) {
			return fatal.error
		}
		if ctx.Err() == nil || last == nil {
			last = err // the last real answer, not "deadline exceeded"
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not after %s: %w", patience, last)
		case <-time.After(look):
		}
	}
}
