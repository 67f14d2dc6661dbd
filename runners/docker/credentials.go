package docker

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/weir-run/weir/runners"
)

// credentials are what a job's image is pulled with. The password is a reference: its value is in no message, log or UI.
// Without them it is what docker login has left for the user who runs the worker.
type credentials struct {
	Username runners.Value `json:"username"`
	Password runners.Value `json:"password"`
}

func (c *credentials) check() error {
	if c != nil && !c.Password.Reference() {
		return errors.New(`registry_credentials: password has to be a reference, {"from_env": "NAME"} or {"from_file": "/path"}: a message is no place for a secret`)
	}
	return nil
}

// defaultRegistry is the key under which docker login keeps the credentials of Docker's own registry.
const defaultRegistry = "https://index.docker.io/v1/"

// registryAuth is the header with which image is pulled; empty: without logging in.
func registryAuth(image string, c *credentials, dir string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("image %s cannot be pulled: %w", image, err)
	}
	server := reference.Domain(named)
	if server == "docker.io" {
		server = defaultRegistry
	}
	auth := registry.AuthConfig{ServerAddress: server}
	if c != nil {
		if auth.Username, err = c.Username.Resolve(dir); err == nil {
			auth.Password, err = c.Password.Resolve(dir)
		}
		if err != nil {
			return "", fmt.Errorf("resolve registry_credentials: %w", err)
		}
		return authconfig.Encode(auth)
	}
	file, err := config.Load(config.Dir())
	if err != nil {
		return "", fmt.Errorf("read what docker login has left: %w", err)
	}
	stored, err := file.GetAuthConfig(server)
	if err != nil {
		return "", fmt.Errorf("ask Docker's credential helper for %s: %w", server, err)
	}
	if stored.Username == "" && stored.IdentityToken == "" && stored.RegistryToken == "" && stored.Auth == "" {
		return "", nil
	}
	return authconfig.Encode(registry.AuthConfig{
		Username: stored.Username, Password: stored.Password, Auth: stored.Auth, ServerAddress: server,
		IdentityToken: stored.IdentityToken, RegistryToken: stored.RegistryToken,
	})
}

// secretsOf takes out of a text what registryAuth has put into its header.
func secretsOf(header string) *strings.Replacer {
	auth, err := authconfig.Decode(header)
	if header == "" || err != nil {
		return strings.NewReplacer()
	}
	var pairs []string
	basic := base64.StdEncoding.EncodeToString([]byte(auth.Username + ":" + auth.Password)) // as a registry gets both
	for _, secret := range []string{basic, auth.Password, auth.IdentityToken, auth.RegistryToken, auth.Auth} {
		if secret != "" {
			pairs = append(pairs, secret, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}
