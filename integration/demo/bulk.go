package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// block is what is written and read at once.
const block = 256 << 10

// sink reads and forgets whatever is sent to it.
func sink(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("sink", flag.ExitOnError)
	listen := flags.String("listen", ":9000", "address to listen at")
	_ = flags.Parse(args) // it exits by itself
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil // told to stop
		}
		go drink(conn)
	}
}

func drink(conn net.Conn) {
	defer conn.Close()
	space := make([]byte, block)
	for {
		if _, err := conn.Read(space); err != nil {
			return
		}
	}
}

// pump sends to a sink as fast as it goes, and prints how many bytes a second
// were taken.
func pump(args []string) error {
	flags := flag.NewFlagSet("pump", flag.ExitOnError)
	length := flags.Duration("for", 3*time.Second, "how long")
	streams := flags.Int("c", 1, "how many connections")
	addrs := parse(flags, args)
	if len(addrs) != 1 {
		return fmt.Errorf("pump: give one HOST:PORT, not %d", len(addrs))
	}
	start, sent, failed := time.Now(), atomic.Int64{}, make([]error, *streams)
	var all sync.WaitGroup
	for i := range *streams {
		all.Go(func() { failed[i] = pour(addrs[0], start.Add(*length), &sent) })
	}
	all.Wait()
	fmt.Printf("%.0f\n", float64(sent.Load())/time.Since(start).Seconds())
	return errors.Join(failed...)
}

func pour(addr string, until time.Time, sent *atomic.Int64) error {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(until.Add(5 * time.Second)); err != nil {
		return err
	}
	space := make([]byte, block)
	for time.Now().Before(until) {
		n, err := conn.Write(space)
		sent.Add(int64(n))
		if err != nil {
			return err
		}
	}
	return nil
}
