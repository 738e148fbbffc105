package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/manager/ca"
)

// memberOf makes the identity of a node of the root's cluster.
func memberOf(t *testing.T, root *ca.Root, rootPEM []byte, role identity.Role) *identity.Source {
	t.Helper()
	key := identity.NewKey()
	csr, err := identity.NewCSR(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := root.Sign(csr, identity.Peer{NodeID: identity.NodeIDOf(&key.PublicKey), ClusterID: "c", Role: role}, ca.DefaultValidity)
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(key, cert, rootPEM)
	if err != nil {
		t.Fatal(err)
	}
	return identity.NewSource(id, t.TempDir(), nil)
}

// TestAPIOverTheClusterPort is the way of a request that a follower forwards:
// net/http on both ends, TLS and an ALPN of our own between, managers alone.
func TestAPIOverTheClusterPort(t *testing.T) {
	root, rootPEM, _, err := ca.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := newMux(listener, memberOf(t, root, rootPEM, identity.Manager), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	go func() { _ = port.Run(ctx); done <- struct{}{} }()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") })}
	go func() { _ = server.Serve(plainListener{port.listen(protoAPI)}); done <- struct{}{} }()
	t.Cleanup(func() {
		cancel()
		_ = server.Close()
		<-done
		<-done
	})
	for role, want := range map[identity.Role]string{identity.Manager: "served", identity.Worker: ""} {
		transport := newAPITransport(memberOf(t, root, rootPEM, role))
		resp, err := (&http.Client{Transport: transport}).Get("https://" + listener.Addr().String() + "/services")
		if want == "" {
			if err == nil {
				t.Errorf("a %s was let in to the API", role)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		body, err := io.ReadAll(resp.Body)
		if string(body) != want || err != nil {
			t.Errorf("%s: %q, %v", role, body, err)
		}
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
	}
}
