package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

func swarmCAVerb() verb {
	return verb{
		name: "ca", usage: "Show or replace the root certificate", do: swarmCA,
		long: "With --rotate every node gets a certificate of the new root, which the old one vouches for\nmeanwhile; a node that is down holds this up until it is back or removed. Join tokens change.",
		flags: []*opt{
			{name: "ca-cert", kind: pemFileKind, usage: "Path to the PEM-formatted root CA certificate to use for the new cluster"},
			{name: "ca-key", kind: pemFileKind, usage: "Path to the PEM-formatted root CA key to use for the new cluster"},
			{name: "cert-expiry", kind: durationKind, def: "2160h0m0s", usage: "Validity period for node certificates (ns|us|ms|s|m|h)"},
			{name: "detach", short: "d", kind: boolKind, usage: "Exit immediately instead of waiting for the root rotation to converge"},
			{name: "external-ca", kind: listKind, usage: "Specifications of one or more certificate signing endpoints"},
			quietFlag("Suppress progress output"),
			{name: "rotate", kind: boolKind, usage: "Rotate the swarm CA - if no certificate or key are provided, new ones will be generated"},
		},
	}
}

// pemFileKind is a file in PEM form; the flag's value is what is in it.
var pemFileKind = kind{"pem-file", false, parser(func(name string) (string, error) {
	text, err := os.ReadFile(name)
	if err == nil {
		if block, _ := pem.Decode(text); block == nil {
			err = errors.New("file contents must be in PEM format")
		}
	}
	return string(text), err
})}

func swarmCA(ctx context.Context, c *call) error {
	if !c.flags.yes("rotate") {
		return c.showRoot(ctx)
	}
	if c.flags.has("ca-cert") && !c.flags.has("ca-key") {
		return errors.New("the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be provided as well")
	}
	err := c.changeSwarm(ctx, swarm.UpdateFlags{}, func(sw *swarm.Swarm) error {
		ca := &sw.Spec.CAConfig
		if !c.flags.has("ca-cert") {
			ca.ForceRotate++
		}
		ca.SigningCACert, ca.SigningCAKey = c.flags.str("ca-cert"), c.flags.str("ca-key")
		return changeCluster(c.flags, &sw.Spec)
	})
	if err != nil || c.flags.yes("detach") {
		return err
	}
	if done, err := c.followRotation(ctx); err != nil || !done || c.flags.yes("quiet") {
		return err
	}
	return c.printRoot(ctx)
}

// showRoot prints the root certificate; what would change it needs --rotate.
func (c *call) showRoot(ctx context.Context) error {
	for _, name := range []string{"ca-cert", "ca-key", "cert-expiry", "external-ca"} {
		if c.flags.has(name) {
			return fmt.Errorf("`--%s` flag requires the `--rotate` flag to update the CA", name)
		}
	}
	return c.printRoot(ctx)
}

func (c *call) printRoot(ctx context.Context) error {
	sw, err := c.api().SwarmInspect(ctx)
	if err != nil {
		return err
	}
	if sw.TLSInfo.TrustRoot == "" {
		return errors.New("No CA information available") //nolint:staticcheck // Docker's words
	}
	fmt.Fprintln(c.out, strings.TrimSpace(sw.TLSInfo.TrustRoot))
	return nil
}

// rotationLook is how often the nodes are looked at: what they report of their
// certificates is no event.
const rotationLook = 200 * time.Millisecond

// followRotation shows how many nodes have a certificate of the new root, and
// trust it alone, until all do or the user has seen enough.
func (c *call) followRotation(ctx context.Context) (done bool, err error) {
	screen := c.screen()
	if c.flags.yes("quiet") {
		screen.w, screen.tty = io.Discard, false
	}
	for {
		var bars []bar
		bars, done, err = c.lookAtRotation(ctx)
		screen.draw(bars)
		if err == nil && !done {
			err = pause(ctx, nil, rotationLook)
		}
		switch {
		case done:
			return true, nil
		case ctx.Err() != nil:
			screen.say("Operation continuing in background.")
			screen.say("Use `%s node ls --format '{{.ID}} {{.Hostname}} {{.TLSStatus}}'` to check progress.", progName)
			return false, nil
		case err != nil:
			return false, err
		}
	}
}

func (c *call) lookAtRotation(ctx context.Context) ([]bar, bool, error) {
	sw, err := c.api().SwarmInspect(ctx)
	if err != nil {
		return nil, false, err
	}
	nodes, err := c.api().NodeList(ctx, swarm.NodeListOptions{})
	if err != nil {
		return nil, false, err
	}
	bars, done := rotationBars(sw.ClusterInfo, nodes)
	return bars, done, nil
}

// rotationBars compares what the nodes say of their certificates with what the
// cluster wants.
func rotationBars(want swarm.ClusterInfo, nodes []swarm.Node) (bars []bar, done bool) {
	certs, roots := 0, 0
	for _, n := range nodes {
		mine := n.Description.TLSInfo
		if bytes.Equal(mine.CertIssuerPublicKey, want.TLSInfo.CertIssuerPublicKey) && bytes.Equal(mine.CertIssuerSubject, want.TLSInfo.CertIssuerSubject) {
			certs++
		}
		if mine.TrustRoot == want.TLSInfo.TrustRoot && !want.RootRotationInProgress {
			roots++
		}
	}
	count := func(id string, n int) bar {
		return bar{id: id, text: fmt.Sprintf("%d/%d nodes", n, len(nodes)), done: n, total: len(nodes)}
	}
	return []bar{
		{id: "desired root digest", text: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(want.TLSInfo.TrustRoot)))},
		count("  rotated TLS certificates", certs),
		count("  rotated CA certificates", roots),
	}, certs == len(nodes) && roots == len(nodes)
}
