// Package registry is a registry of one image, by the distribution protocol:
// enough for an engine to pull from. It asks for a name and a password and
// notes who asked for what. Engines take 127.0.0.0/8 for insecure registries.
package registry

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

// Registry serves the image under every name.
type Registry struct {
	user, password string
	blobs          map[string][]byte // by digest; the manifest is one of them
	manifest       string

	mu   sync.Mutex
	asks []string // "user path"
}

// New makes a registry whose image is one static binary, run as /app.
func New(user, password string, binary []byte) (*Registry, error) {
	layer, err := layerOf(binary)
	if err != nil {
		return nil, err
	}
	r := &Registry{user: user, password: password, blobs: map[string][]byte{}}
	config := fmt.Appendf(nil, `{"architecture":%q,"os":"linux","config":{"Entrypoint":["/app"]},"rootfs":{"type":"layers","diff_ids":[%q]}}`, runtime.GOARCH, digest(layer))
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		manifestType, r.add("container.image.v1+json", config), r.add("image.rootfs.diff.tar", layer))
	r.manifest = digest(manifest)
	r.blobs[r.manifest] = manifest
	return r, nil
}

func layerOf(binary []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(binary))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(binary); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// add keeps a blob and returns its description for the manifest.
func (r *Registry) add(kind string, data []byte) string {
	r.blobs[digest(data)] = data
	return fmt.Sprintf(`{"mediaType":"application/vnd.docker.%s","size":%d,"digest":%q}`, kind, len(data), digest(data))
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// ServeHTTP answers /v2/, and manifests and blobs below it.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	user, password, _ := req.BasicAuth()
	r.mu.Lock()
	r.asks = append(r.asks, user+" "+req.URL.Path)
	r.mu.Unlock()
	if user != r.user || password != r.password {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	data := []byte("{}")
	if req.URL.Path != "/v2/" {
		parts := strings.Split(req.URL.Path, "/")
		name := parts[len(parts)-1]
		if strings.Contains(req.URL.Path, "/manifests/") {
			name = r.manifest
			w.Header().Set("Content-Type", manifestType)
			w.Header().Set("Docker-Content-Digest", name)
		}
		data = r.blobs[name]
	}
	if data == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data)
}

// AskedBy is how many requests came with a user's name.
func (r *Registry) AskedBy(user string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.asks {
		if strings.HasPrefix(a, user+" ") {
			n++
		}
	}
	return n
}
