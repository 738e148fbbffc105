package cli

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	dockerimage "github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/urfave/cli/v2"

	"github.com/swarmctl/swarmctl/api"
)

var (
	//go:embed scripts/completion.bash
	bashCompletion string
	//go:embed scripts/completion.zsh
	zshCompletion string
	//go:embed scripts/completion.fish
	fishCompletion string
)

func completionVerb() verb {
	scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	return verb{
		name: "completion", args: "(bash|zsh|fish)", usage: "Print a script that completes commands, flags and live names in a shell", min: 1, max: 1,
		long: "bash:  source <(swarmctl completion bash)                                     in ~/.bashrc\n" +
			"zsh:   source <(swarmctl completion zsh)                                      in ~/.zshrc, after compinit\n" +
			"fish:  swarmctl completion fish > ~/.config/fish/completions/swarmctl.fish    once",
		do: func(_ context.Context, c *call) error {
			script, ok := scripts[c.args[0]]
			if !ok {
				return fmt.Errorf("unknown shell %s: bash, zsh and fish are known", c.args[0])
			}
			_, err := fmt.Fprint(c.out, script)
			return err
		},
	}
}

// completeCommand is the hidden command that the scripts call, with the words
// after the program's name up to the cursor. Every answer is a line: the whole
// word, and after a tab what it means; or ":files".
const completeCommand = "__complete"

// completePatience is how long the daemon may take to name its objects: who
// presses a key does not wait for longer.
const completePatience = time.Second

// complete prints what may stand at the end of the words. It fails silently: a
// shell has no place for errors here.
func (a App) complete(ctx context.Context, app *cli.App, s *streams, words []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	ctx, cancel := context.WithTimeout(ctx, completePatience)
	defer cancel()
	p := locate(app, words)
	c := &call{app: a, streams: s, flags: given{}}
	if socket := cmp.Or(p.given["socket"], os.Getenv(socketEnv)); socket != "" {
		c.flags["socket"] = []any{socket}
	}
	for _, found := range p.complete(app, func(kind string) []candidate { return c.live(ctx, kind) }) {
		line := found.value
		if found.help != "" {
			line += "\t" + found.help
		}
		fmt.Fprintln(s.out, line)
	}
}

// live names the objects of a kind, and none where the daemon does not answer.
func (c *call) live(ctx context.Context, kind string) (out []candidate) {
	if c.client == nil && c.connect() != nil {
		return nil
	}
	switch kind {
	case "SERVICE":
		list, _ := c.api().ServiceList(ctx, swarm.ServiceListOptions{})
		for _, s := range list {
			out = append(out, candidate{s.Spec.Name, familiarImage(image(s.Spec.TaskTemplate))})
		}
	case "NODE":
		list, _ := c.api().NodeList(ctx, swarm.NodeListOptions{})
		for _, n := range list {
			out = append(out, candidate{n.Description.Hostname, fmt.Sprintf("%s, %s", n.Spec.Role, n.Status.State)})
		}
	case "SERVICE.SLOT":
		return c.livePlaces(ctx)
	case "SECRET":
		list, _ := c.api().SecretList(ctx, swarm.SecretListOptions{})
		for _, s := range list {
			out = append(out, candidate{value: s.Spec.Name})
		}
	case "HOST":
		var list []api.RegistryLogin
		_ = c.askJSON(ctx, registriesPath, &list)
		for _, r := range list {
			out = append(out, candidate{r.Host, r.Username})
		}
	case "CONFIG":
		list, _ := c.api().ConfigList(ctx, swarm.ConfigListOptions{})
		for _, s := range list {
			out = append(out, candidate{value: s.Spec.Name})
		}
	case "NETWORK":
		list, _ := c.api().NetworkList(ctx, network.ListOptions{})
		for _, n := range list {
			out = append(out, candidate{n.Name, n.Driver})
		}
	case "VOLUME":
		list, _ := c.volumes(ctx, "", nil)
		for i := range list {
			if i == 0 || list[i].Name != list[i-1].Name { // they are in the order of their names
				out = append(out, candidate{list[i].Name, list[i].Driver})
			}
		}
	case "STACK":
		sizes, _ := c.stackSizes(ctx)
		for name, n := range sizes {
			out = append(out, candidate{name, fmt.Sprintf("%d %s", n, plural("service", n))})
		}
	case "IMAGE":
		list, _ := c.api().ImageList(ctx, dockerimage.ListOptions{})
		for _, i := range list {
			out = append(out, plain(i.RepoTags...)...)
		}
	}
	return out
}

// livePlaces are the running tasks as people name them: web.1, agent.h3.
func (c *call) livePlaces(ctx context.Context) (out []candidate) {
	tasks, err := c.api().TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("desired-state", "running"))})
	if err != nil {
		return nil
	}
	r := c.resolver()
	for _, t := range tasks {
		service, err1 := r.service(ctx, t.ServiceID)
		node, err2 := r.node(ctx, t.NodeID)
		if err1 != nil || err2 != nil {
			return nil
		}
		name := fmt.Sprintf("%s.%d", service, t.Slot)
		if t.Slot == 0 && !r.counted[t.ServiceID] {
			name = service + "." + node
		}
		out = append(out, candidate{name, strings.TrimSpace(fmt.Sprintf("%s %s", t.Status.State, node))})
	}
	return out
}
