package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/wire"
)

// Renew gets a new certificate for the node, with a new key and the role that
// the cluster has for the node now, saves it and makes it the current one.
func Renew(ctx context.Context, src *identity.Source, addr string) error {
	old := src.Current()
	key := identity.NewKey()
	csr, err := identity.NewCSR(key)
	if err != nil {
		return err
	}
	reply, err := issue(ctx, withPort(addr), src.ClientCredentials(), &wire.IssueRequest{CsrPem: csr})
	if err != nil {
		return fmt.Errorf("renew the certificate at %s: %w", addr, err)
	}
	id, err := identity.New(key, reply.CertificatePem, reply.RootsPem)
	if err != nil {
		return fmt.Errorf("renew the certificate: answer of manager %s: %w", addr, err)
	}
	if id.NodeID != old.NodeID || id.ClusterID != old.ClusterID {
		return api.Errorf(api.CodeInternal, "manager %s answered with a certificate of node %s instead of %s", addr, id.NodeID, old.NodeID)
	}
	return src.Set(id, reply.UnlockKey)
}

// RenewerConfig is what a Renewer needs.
type RenewerConfig struct {
	Source   *identity.Source
	Managers func() []string // addresses to ask, in order of preference; asked anew for each try
	Log      *slog.Logger
}

// Renewer keeps a node's certificate fresh.
type Renewer struct {
	RenewerConfig
	now chan struct{}
}

// NewRenewer returns a Renewer that works once Run is called.
func NewRenewer(c RenewerConfig) (*Renewer, error) {
	if c.Source == nil || c.Managers == nil || c.Log == nil {
		return nil, errors.New("renewer: Source, Managers and Log must be set")
	}
	return &Renewer{RenewerConfig: c, now: make(chan struct{}, 1)}, nil
}

// RenewNow asks for a renewal without delay: the node's role has changed, or
// the cluster's root.
func (r *Renewer) RenewNow() {
	select {
	case r.now <- struct{}{}:
	default: // one is asked for already
	}
}

// Tries that fail are repeated after firstRetry, then after twice that, and so
// on up to lastRetry: half of the shortest life that a cluster may ask for is half an hour.
const (
	firstRetry = time.Second
	lastRetry  = 2 * time.Minute
)

// Run renews at a random point between a half and four fifths of each
// certificate's life, and when RenewNow asks, until ctx ends.
func (r *Renewer) Run(ctx context.Context) error {
	retry := time.Duration(0)
	wait := r.Source.Current().RenewIn(time.Now(), rand.Float64())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.now:
			retry = 0
		case <-time.After(wait):
		}
		if err := r.renew(ctx); err != nil {
			retry = min(max(2*retry, firstRetry), lastRetry)
			wait = retry
			r.Log.Warn("certificate not renewed", "err", err, "expires", r.Source.Current().Expires(), "retry", wait)
			continue
		}
		id := r.Source.Current()
		// From the life alone, and not from the wall clock: a clock that is ahead
		// of the manager's would ask again at once, for ever.
		retry, wait = 0, time.Duration(float64(id.Life())*(0.5+0.3*rand.Float64()))
		r.Log.Info("certificate renewed", "role", id.Role, "expires", id.Expires())
	}
}

func (r *Renewer) renew(ctx context.Context) error {
	var errs []error
	for _, addr := range r.Managers() {
		err := Renew(ctx, r.Source, addr)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return api.Errorf(api.CodeUnavailable, "no manager's address is known")
	}
	return errors.Join(errs...)
}
