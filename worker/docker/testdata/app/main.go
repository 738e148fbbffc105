// Command app is what the tests run in containers: app wait | exit N | eat | probe.
package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	verb := "wait"
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	switch verb {
	case "wait": // until SIGTERM or SIGINT, then success
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
		println("waits") // a signal that comes sooner ends it with code 2
		<-c
	case "exit":
		n, _ := strconv.Atoi(os.Args[2])
		os.Exit(n)
	case "eat":
		var all [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			all = append(all, b)
		}
	case "probe": // a health check: healthy once /ok exists, unhealthy after that
		if _, err := os.Stat("/bad"); err == nil {
			os.Exit(1)
		}
	case "rot": // makes the probe fail
		time.Sleep(time.Second)
		f, _ := os.Create("/bad")
		_ = f.Close()
		time.Sleep(time.Hour)
	}
}
