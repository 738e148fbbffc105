// Bench measures swarmctl beside Docker Swarm and beside bare Docker Engines,
// on the same machine, in the same run, in the same way: five hosts of
// integration/hosts, three of them managers. Whether a replica runs is asked
// of the engines, never of the orchestrator. It prints one table.
//
//	go run ./integration/bench -n 5
//	go run ./integration/bench -who swarm -rows create,kill -n 1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/hosts"
)

type options struct {
	n    int
	rows []string
	who  []string
	hog  time.Duration
	idle time.Duration
	net  string
}

func main() {
	var opt options
	var rows, who string
	flag.IntVar(&opt.n, "n", 5, "how often each row is measured; the table has the median")
	flag.StringVar(&rows, "rows", strings.Join(allRows, ","), "what to measure")
	flag.StringVar(&who, "who", strings.Join(contenders, ","), "whom to measure")
	flag.DurationVar(&opt.hog, "hog", 5*time.Minute, "how long the row hog keeps every core busy")
	flag.DurationVar(&opt.idle, "idle", 30*time.Second, "how long the row idle looks at a daemon")
	flag.StringVar(&opt.net, "net", "10.92", "first two numbers of the hosts' addresses")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opt.rows, opt.who = strings.Split(rows, ","), strings.Split(who, ",")
	if err := run(ctx, opt); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (o options) validate() error {
	for _, list := range []struct{ have, known []string }{{o.rows, allRows}, {o.who, contenders}} {
		for _, name := range list.have {
			if !slices.Contains(list.known, name) {
				return fmt.Errorf("unknown name %q: use some of %s", name, strings.Join(list.known, ","))
			}
		}
	}
	if o.n < 1 {
		return fmt.Errorf("-n %d: measure at least once", o.n)
	}
	return nil
}

func run(ctx context.Context, opt options) error {
	if err := opt.validate(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tools, err := cluster.Build(ctx, dir, slices.Contains(opt.who, ours))
	if err != nil {
		return err
	}
	b, err := open(ctx, opt, tools)
	defer b.close()
	if err != nil {
		return err
	}
	for _, row := range opt.rows {
		for range rounds(row, opt.n) {
			b.round(ctx, row)
		}
	}
	fmt.Print(b.results.render(opt))
	return b.failures()
}

// rounds is how often a row is measured: those that look at something for
// minutes, or repeat what they do by themselves, are looked at once.
func rounds(row string, n int) int {
	switch row {
	case rowIdle, rowHog, rowList, rowPass, rowVIP, rowMesh, rowFlow, rowAgree, rowRules, rowRoll, rowLeak, rowSlow:
		return 1
	}
	return n
}

// benches are the contenders. All have their hosts up at the same time and
// take turns, so that whatever else the machine does hits them alike.
type benches struct {
	all     []*bench
	results table
}

func open(ctx context.Context, opt options, tools cluster.Tools) (*benches, error) {
	b := &benches{results: table{}}
	for i, who := range opt.who {
		progress("%s: forming a cluster", who)
		c, err := cluster.New(ctx, cluster.Config{
			Kind: kinds[who], Managers: 3, Workers: 2, Tools: tools,
			Hosts: hosts.Config{Prefix: "bench", Subnet: fmt.Sprintf("%s.%d", opt.net, i+1)},
		})
		if err != nil {
			return b, fmt.Errorf("%s: %w", who, err)
		}
		b.all = append(b.all, &bench{opt: opt, who: who, c: c, w: c.Watch(ctx), results: b.results})
	}
	for _, one := range b.all {
		for _, other := range b.all {
			if one.who == ours && other.who == swarm {
				one.rival = other
			}
		}
	}
	return b, nil
}

func (b *benches) close() {
	for _, one := range b.all {
		if err := one.c.Down(); err != nil {
			progress("%s: %v", one.who, err)
		}
	}
}

// round lets each contender measure a row once. One that has failed is out.
func (b *benches) round(ctx context.Context, row string) {
	for _, one := range b.all {
		if one.failed != nil || ctx.Err() != nil {
			continue
		}
		if err := one.row(ctx, row); err != nil {
			one.failed = fmt.Errorf("%s: %s: %w\n%s", one.who, row, err, one.c.Complaints(15))
		}
	}
}

func (b *benches) failures() error {
	var all []error
	for _, one := range b.all {
		all = append(all, one.failed)
	}
	return errors.Join(all...)
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
