package api

import (
	"testing"

	"github.com/docker/docker/api/types/image"
	ocispec "github.com/moby/docker-image-spec/specs-go/v1"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func inspected(id string, change ...func(*image.InspectResponse)) *image.InspectResponse {
	r := &image.InspectResponse{
		ID: id, Os: "linux", Architecture: "amd64", Created: "2020-01-01T00:00:00Z", Size: 7,
		RootFS: image.RootFS{Type: "layers", Layers: []string{"sha256:1", "sha256:2"}},
		Config: &ocispec.DockerOCIImageConfig{ImageConfig: v1.ImageConfig{Entrypoint: []string{"/app"}, Env: []string{"A=b"}, Labels: map[string]string{"x": "1", "y": "2"}}},
	}
	for _, f := range change {
		f(r)
	}
	return r
}

// Engines that keep images in different ways have different IDs for one image.
func TestOneImageOnTwoEngines(t *testing.T) {
	here := ImageOf(inspected("sha256:config"))
	for name, tt := range map[string]struct {
		there *image.InspectResponse
		same  bool
	}{
		"another ID": {inspected("sha256:manifest", func(r *image.InspectResponse) { r.Size = 8 }), true},
		"empty where the other has nothing": {inspected("sha256:manifest", func(r *image.InspectResponse) {
			r.Config.Cmd, r.Config.Volumes = []string{}, map[string]struct{}{}
		}), true},
		"another layer":         {inspected("sha256:manifest", func(r *image.InspectResponse) { r.RootFS.Layers = []string{"sha256:1", "sha256:3"} }), false},
		"another variable":      {inspected("sha256:manifest", func(r *image.InspectResponse) { r.Config.Env = []string{"A=c"} }), false},
		"another command":       {inspected("sha256:manifest", func(r *image.InspectResponse) { r.Config.Cmd = []string{"x"} }), false},
		"built at another time": {inspected("sha256:manifest", func(r *image.InspectResponse) { r.Created = "2021-01-01T00:00:00Z" }), false},
		"nothing but an ID":     {&image.InspectResponse{ID: "sha256:manifest"}, false},
		"the same ID":           {&image.InspectResponse{ID: "sha256:config"}, true},
	} {
		there := ImageOf(tt.there)
		if here.Is(&there) != tt.same || there.Is(&here) != tt.same {
			t.Errorf("%s: same is %t: %+v and %+v", name, !tt.same, here, there)
		}
	}
	var none *Image
	if !none.Same(nil) || none.Same(&here) || here.Same(nil) || !here.Same(&here) {
		t.Error("no image and one are told apart wrongly")
	}
}

func TestPlatformOf(t *testing.T) {
	for _, tt := range [][2]string{{"x86_64", "linux/amd64"}, {"amd64", "linux/amd64"}, {"aarch64", "linux/arm64"}, {"armv7l", "linux/arm"}, {"riscv64", "linux/riscv64"}} {
		if got := PlatformOf("linux", tt[0]); got != tt[1] {
			t.Errorf("%s: %s, want %s", tt[0], got, tt[1])
		}
	}
}

func TestRegistryHost(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"registry.example.com", "registry.example.com"},
		{"registry.example.com:5000", "registry.example.com:5000"},
		{"https://registry.example.com/v2/", "registry.example.com"},
		{"localhost", "localhost"},
		{"127.0.0.1:5999", "127.0.0.1:5999"},
		{"docker.io", "docker.io"},
		{"https://index.docker.io/v1/", "docker.io"},
		{"host", ""},
		{"", ""},
		{"a b.io", ""},
	} {
		got, err := RegistryHost(tt.name)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%q: %q, %v, want %q", tt.name, got, err, tt.want)
		}
		if err == nil && RegistryOf(got+"/team/app:1") != got {
			t.Errorf("no image is of registry %q", got)
		}
	}
	for image, want := range map[string]string{"app": "docker.io", "team/app:1": "docker.io", "r.io:5000/app@sha256:" + zeros: "r.io:5000", "NO": ""} {
		if got := RegistryOf(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
