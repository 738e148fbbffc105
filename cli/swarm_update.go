package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

func swarmUpdateVerb() verb {
	return verb{
		name: "update", usage: "Change settings of the cluster", do: swarmUpdate, asks: true, long: policyHelp() + "\n" + strategyHelp,
		flags: slices.Concat(clusterFlags("Change manager autolocking setting (true|false)"), policyFlags(), []*opt{strategyFlag()}),
	}
}

// strategyHelp is the help of strategyFlag.
const strategyHelp = `--strategy is how tasks are shared out where their service does not say: spread, which is Docker Swarm's, evenly
  over the nodes; capacity, in proportion to what the nodes have free of cores and memory; binpack, filling one
  node before the next. It holds for the tasks to come: "" is spread again.`

func strategyFlag() *opt {
	return &opt{name: "strategy", kind: strategyKind, usage: `How tasks are shared out: spread|binpack|capacity ("" for spread)`}
}

// clusterFlags are the cluster's settings, which init gives and update changes.
func clusterFlags(autolock string) []*opt {
	return []*opt{
		{name: "autolock", kind: boolKind, usage: autolock},
		{name: "cert-expiry", kind: durationKind, def: "2160h0m0s", usage: "Validity period for node certificates (ns|us|ms|s|m|h)"},
		{name: "dispatcher-heartbeat", kind: durationKind, def: "5s", usage: "Dispatcher heartbeat period (ns|us|ms|s|m|h)"},
		{name: "external-ca", kind: listKind, usage: "Specifications of one or more certificate signing endpoints"},
		{name: "max-snapshots", kind: uintKind, usage: "Number of additional Raft snapshots to retain"},
		{name: "snapshot-interval", kind: uintKind, def: "10000", usage: "Number of log entries between Raft snapshots"},
		{name: "task-history-limit", kind: int64Kind, def: "5", usage: "Task history retention limit"},
	}
}

// changeCluster applies the flags that were given to the cluster's spec.
func changeCluster(g given, spec *swarm.Spec) error {
	if g.has("external-ca") {
		return errors.New("--external-ca is not available: the managers sign certificates themselves; bring a root of your own with `" + progName + " ca --rotate --ca-cert FILE --ca-key FILE`")
	}
	put(g, "autolock", &spec.EncryptionConfig.AutoLockManagers)
	put(g, "cert-expiry", &spec.CAConfig.NodeCertExpiry)
	put(g, "dispatcher-heartbeat", &spec.Dispatcher.HeartbeatPeriod)
	put(g, "snapshot-interval", &spec.Raft.SnapshotInterval)
	putPtr(g, "max-snapshots", &spec.Raft.KeepOldSnapshots)
	putPtr(g, "task-history-limit", &spec.Orchestration.TaskHistoryRetentionLimit)
	return nil
}

// changeSwarm reads the cluster, changes it and writes it back.
func (c *call) changeSwarm(ctx context.Context, flags swarm.UpdateFlags, change func(*swarm.Swarm) error) error {
	var err error
	for range attempts {
		var sw swarm.Swarm
		if sw, err = c.api().SwarmInspect(ctx); err != nil {
			return err
		}
		if err = change(&sw); err != nil {
			return err
		}
		if err = c.api().SwarmUpdate(ctx, sw.Version, sw.Spec, flags); !isOutdated(err) {
			return err
		}
	}
	return err
}

func swarmUpdate(ctx context.Context, c *call) error {
	locked := false
	err := c.changeSwarm(ctx, swarm.UpdateFlags{}, func(sw *swarm.Swarm) error {
		locked = sw.Spec.EncryptionConfig.AutoLockManagers
		changePolicy(c.flags, &sw.Spec)
		if c.flags.has("strategy") {
			setLabel(&sw.Spec.Labels, setting.LabelStrategy, c.flags.str("strategy"))
		}
		return changeCluster(c.flags, &sw.Spec)
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, "Swarm updated.")
	if c.flags.yes("autolock") && !locked {
		return c.printUnlock(ctx)
	}
	return nil
}
