// Lab forms a cluster of hosts on this machine and keeps it until Ctrl-C, for
// trying things by hand: it prints how to get into each host, and takes power
// and cables away when told to on its standard input.
//
//	go run ./integration/lab -managers 3 -workers 2
//	go run ./integration/lab -kind swarm
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/hosts"
)

var kinds = map[string]cluster.Kind{"ours": cluster.Ours, "swarm": cluster.DockerSwarm, "engines": cluster.EnginesOnly}

func main() {
	kind := flag.String("kind", "ours", "whose cluster: ours, swarm, or engines for none")
	managers := flag.Int("managers", 3, "how many managers")
	workers := flag.Int("workers", 2, "how many workers")
	spares := flag.Int("spares", 0, "how many hosts more, with a daemon that has not joined")
	subnet := flag.String("subnet", "10.93.1", "first three numbers of the hosts' addresses")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := cluster.Config{Kind: kinds[*kind], Managers: *managers, Workers: *workers, Hosts: hosts.Config{Prefix: "lab", Subnet: *subnet}}
	if err := run(ctx, cfg, *spares); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg cluster.Config, spares int) error {
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if cfg.Tools, err = cluster.Build(ctx, dir, cfg.Kind == cluster.Ours); err != nil {
		return err
	}
	c, err := cluster.New(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = c.Down() }()
	if err := c.Add(ctx, spares); err != nil {
		return err
	}
	show(c, cfg.Tools)
	commands := make(chan string)
	go read(commands) // ends with the program
	for {
		select {
		case <-ctx.Done():
			return nil
		case text := <-commands:
			if err := obey(ctx, c, strings.Fields(text)); err != nil {
				fmt.Println(err)
			}
		}
	}
}

func show(c *cluster.Cluster, tools cluster.Tools) {
	fmt.Printf("\nswarmctl is %s, the image %s\n\n", tools.Swarmctl, cluster.Image)
	for _, n := range c.Nodes {
		fmt.Printf("%s  %s  %s\n     log: %s\n", n.Name, n.Addr, n.Enter(), n.Log("swarmctl"))
	}
	fmt.Print("\noff H, on H, cut H, heal H, kill H (its daemon), start H; Ctrl-C ends it all\n")
}

func read(commands chan<- string) {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		commands <- in.Text()
	}
}

func obey(ctx context.Context, c *cluster.Cluster, words []string) error {
	if len(words) != 2 {
		return fmt.Errorf("a verb and a host, such as: off h4")
	}
	for _, n := range c.Nodes {
		if n.Name != words[1] {
			continue
		}
		switch words[0] {
		case "off":
			n.PowerOff()
		case "on":
			err := n.PowerOn(ctx)
			fmt.Println(n.Enter())
			return err
		case "cut":
			return n.Cut()
		case "heal":
			return n.Heal()
		case "kill":
			n.KillDaemon()
		case "start":
			return n.StartDaemon(ctx)
		default:
			return fmt.Errorf("unknown verb %q", words[0])
		}
		return nil
	}
	return fmt.Errorf("no host %q", words[1])
}
