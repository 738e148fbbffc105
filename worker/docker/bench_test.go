package docker

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// BenchmarkStart creates and starts 10 containers, so many at once: the numbers
// behind the worker's DefaultStarts.
func BenchmarkStart(b *testing.B) {
	e, err := testEngine()
	if err != nil {
		b.Fatal(err)
	}
	for _, atOnce := range []int{1, 2, 3, 4, 8} {
		b.Run(fmt.Sprintf("at-once-%d", atOnce), func(b *testing.B) {
			for b.Loop() {
				cluster := "bench-" + api.NewID()
				startTen(b, e, cluster, atOnce)
				b.StopTimer()
				removeCluster(b, e, cluster)
				b.StartTimer()
			}
		})
	}
}

func startTen(b *testing.B, e *Engine, cluster string, atOnce int) {
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r := &Request{
				Cluster: cluster, Task: &api.Task{ID: api.TaskID(api.NewID()), Slot: i + 1},
				Spec: &api.ServiceSpec{Annotations: swarm.Annotations{Name: "bench"}, TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: testImage}}},
			}
			id, err := e.Create(context.Background(), r)
			if err == nil {
				err = e.Start(context.Background(), id)
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}

func removeCluster(b *testing.B, e *Engine, cluster string) {
	list, err := e.List(context.Background(), cluster)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range list {
		if err := e.Remove(context.Background(), c.ID); err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkInspect is what the one look at a started container costs.
func BenchmarkInspect(b *testing.B) {
	e, err := testEngine()
	if err != nil {
		b.Fatal(err)
	}
	cluster := "bench-" + api.NewID()
	startTen(b, e, cluster, 2)
	defer removeCluster(b, e, cluster)
	list, err := e.List(context.Background(), cluster)
	if err != nil || len(list) == 0 {
		b.Fatal(list, err)
	}
	for b.Loop() {
		if _, err := e.Inspect(context.Background(), list[0].ID); err != nil {
			b.Fatal(err)
		}
	}
}
