package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
)

// writeImage writes an archive for `docker load` with one image of one layer:
// this very program at /demo. The same program gives the same image, byte for
// byte, so that its ID is the same on every host.
func writeImage(w io.Writer, tags []string) error {
	if len(tags) == 0 {
		return fmt.Errorf("demo image: name at least one tag, such as demo:latest")
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	layer, err := pack(file{"demo", 0o755, program})
	if err != nil {
		return err
	}
	config, err := json.Marshal(imageConfig(digest(layer)))
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": tags, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	image, err := pack(file{"manifest.json", 0o644, manifest}, file{"config.json", 0o644, config}, file{"layer.tar", 0o644, layer})
	if err != nil {
		return err
	}
	_, err = w.Write(image)
	return err
}

func imageConfig(layer string) map[string]any {
	return map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": "2020-01-01T00:00:00Z",
		"config": map[string]any{
			"Entrypoint":   []string{"/demo"},
			"ExposedPorts": map[string]any{"8080/tcp": struct{}{}},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{layer}},
		"history": []map[string]any{{"created": "2020-01-01T00:00:00Z", "created_by": "demo image"}},
	}
}

type file struct {
	name string
	mode int64
	data []byte
}

func pack(files ...file) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
