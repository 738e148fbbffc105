package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/registry"
)

// dockerConfig is what this program reads of ~/.docker/config.json.
type dockerConfig struct {
	Auths       map[string]registry.AuthConfig `json:"auths"`
	CredsStore  string                         `json:"credsStore"`
	CredHelpers map[string]string              `json:"credHelpers"`
	DetachKeys  string                         `json:"detachKeys"`
}

// dockerHub is the name under which Docker keeps the Hub's credentials.
const dockerHub = "https://index.docker.io/v1/"

// registryAuth returns, with --with-registry-auth, the credentials that
// `docker login` stored for the image's registry, encoded for the API; empty
// without the flag or where nobody logged in.
func (c *call) registryAuth(image string) (string, error) {
	if !c.flags.yes("with-registry-auth") {
		return "", nil
	}
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", err
	}
	host := reference.Domain(ref)
	if host == "docker.io" {
		host = dockerHub
	}
	cfg, err := readDockerConfig()
	if err != nil {
		return "", err
	}
	auth, err := cfg.lookup(host)
	if err != nil {
		return "", err
	}
	return registry.EncodeAuthConfig(auth)
}

func readDockerConfig() (cfg dockerConfig, err error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return cfg, err
		}
		dir = filepath.Join(home, ".docker")
	}
	name := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, nil
	}
	if err != nil {
		return cfg, err
	}
	if err := json.Unmarshal(data, &cfg); err != nil {
		return cfg, fmt.Errorf("read %s: %w", name, err)
	}
	return cfg, nil
}

// lookup finds a registry's credentials: in a helper where one is set, in the file otherwise.
func (cfg dockerConfig) lookup(host string) (registry.AuthConfig, error) {
	helper := cfg.CredHelpers[host]
	if helper == "" {
		helper = cfg.CredsStore
	}
	if helper != "" {
		return askHelper(helper, host)
	}
	auth, ok := cfg.Auths[host]
	if !ok {
		auth = cfg.Auths["https://"+host]
	}
	auth.ServerAddress = host
	if auth.Auth != "" {
		plain, err := base64.StdEncoding.DecodeString(auth.Auth)
		if err != nil {
			return auth, fmt.Errorf("credentials of %s in Docker's config.json: %w", host, err)
		}
		auth.Username, auth.Password, _ = strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
		auth.Auth = ""
	}
	return auth, nil
}

func askHelper(helper, host string) (registry.AuthConfig, error) {
	cmd := exec.Command("docker-credential-"+helper, "get")
	cmd.Stdin = strings.NewReader(host)
	out, err := cmd.Output()
	if err != nil {
		if bytes.Contains(out, []byte("credentials not found")) {
			return registry.AuthConfig{}, nil
		}
		return registry.AuthConfig{}, fmt.Errorf("docker-credential-%s get %s: %w: %s", helper, host, err, bytes.TrimSpace(out))
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out, &got); err != nil {
		return registry.AuthConfig{}, fmt.Errorf("docker-credential-%s get %s: %w", helper, host, err)
	}
	auth := registry.AuthConfig{ServerAddress: host, Username: got.Username, Password: got.Secret}
	if got.Username == "<token>" {
		auth.Username, auth.Password, auth.IdentityToken = "", "", got.Secret
	}
	return auth, nil
}
