package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/docker/docker/api/types/registry"
	"github.com/moby/term"

	"github.com/swarmctl/swarmctl/api"
)

func registryVerbs() []verb {
	return []verb{
		{
			name: "login", args: "HOST", usage: "Log the cluster in to a registry", min: 1, max: 1, do: registryLogin,
			flags: []*opt{
				{name: "username", short: "u", kind: stringKind, usage: "Username"},
				{name: "password-stdin", kind: boolKind, usage: "Take the password, or a token, from STDIN"},
			},
			long: "Nodes get the credentials when they pull an image of that registry, each time anew: log in again when the\n" +
				"password or the token has changed, and whatever is pulled next is pulled with it. The cluster's credentials\n" +
				"go before those that --with-registry-auth has sent with a service, which are tried where a registry refuses\n" +
				"the first.\n\n" +
				"HOST is as the names of its images begin, with its port; docker.io is Docker Hub.",
		},
		{name: "logout", args: "HOST", usage: "Log the cluster out of a registry", min: 1, max: 1, do: registryLogout},
		{name: "ls", aliases: []string{"list"}, usage: "List the registries that the cluster is logged in to", do: registryList, flags: []*opt{formatFlag(""), quietFlag("Only display hosts")}},
	}
}

const registriesPath = "/swarmctl/registries"

func registryLogin(ctx context.Context, c *call) error {
	auth := registry.AuthConfig{ServerAddress: c.args[0], Username: c.flags.str("username")}
	var err error
	switch {
	case c.flags.yes("password-stdin") && auth.Username == "":
		return errors.New("Must provide --username with --password-stdin") //nolint:staticcheck // Docker's words
	case !c.flags.yes("password-stdin") && !c.askable():
		return errors.New("cannot ask for a password without a terminal: give --username and --password-stdin")
	case auth.Username == "":
		if auth.Username, err = c.readLine("Username: "); err != nil {
			return err
		}
	}
	if auth.Password, err = c.readSecret("Password: "); err != nil {
		return err
	}
	if auth.Username == "" || auth.Password == "" {
		return errors.New("username and password must not be empty")
	}
	var answer api.RegistryLogin
	if err := c.askWith(ctx, http.MethodPost, registriesPath, auth, &answer); err != nil {
		return err
	}
	if answer.Warning != "" {
		warn(c.err, []string{"WARNING: " + answer.Warning})
		return nil
	}
	fmt.Fprintln(c.out, answer.Status)
	return nil
}

// askable reports whether there is somebody at a terminal to be asked.
func (c *call) askable() bool {
	f, ok := c.in.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

func (c *call) readLine(prompt string) (string, error) {
	fmt.Fprint(c.out, prompt)
	line, err := bufio.NewReader(c.in).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return strings.TrimSpace(line), err
}

func registryLogout(ctx context.Context, c *call) error {
	if _, err := c.request(ctx, http.MethodDelete, registriesPath+"/"+url.PathEscape(c.args[0]), nil); err != nil {
		return err
	}
	fmt.Fprintln(c.out, c.args[0])
	return nil
}

// registryRow is a line of registry ls.
type registryRow struct{ Host, Username, CreatedAt, UpdatedAt string }

func registryList(ctx context.Context, c *call) error {
	var list []api.RegistryLogin
	if err := c.askJSON(ctx, registriesPath, &list); err != nil {
		return err
	}
	l := listing{
		headers: map[string]string{"Host": "REGISTRY", "Username": "USERNAME", "CreatedAt": "CREATED", "UpdatedAt": "UPDATED"},
		table:   "{{.Host}}\t{{.Username}}\t{{.UpdatedAt}}",
		quietly: "{{.Host}}",
	}
	for _, r := range list {
		l.rows = append(l.rows, registryRow{Host: r.Host, Username: r.Username, CreatedAt: c.ago(r.CreatedAt), UpdatedAt: c.ago(r.UpdatedAt)})
	}
	return c.print(l)
}
