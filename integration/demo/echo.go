package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

// echo is for commands in a running container: it says where it runs, copies
// its input to its output, complains, and ends as it is told.
func echo(args []string) error {
	flags := flag.NewFlagSet("echo", flag.ExitOnError)
	code := flags.Int("exit-code", 0, "exit code")
	_ = flags.Parse(args) // it exits by itself
	name, _ := os.Hostname()
	fmt.Println("echo in", name)
	n, err := io.Copy(os.Stdout, os.Stdin)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, n, "bytes read")
	os.Exit(*code)
	return nil
}
