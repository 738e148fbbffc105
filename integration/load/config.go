package load

import (
	"flag"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"
)

// Config says whom to ask, how often and how fast.
type Config struct {
	// URL is http://HOST[:PORT][/PATH] or udp://HOST:PORT. A name is looked up
	// anew for each connection, or for each datagram.
	URL string
	// Requests is how many; 0 is as many as there is time for.
	Requests int
	// For is how long; 0, without Requests, is until the context ends. A
	// request that was begun is waited for.
	For time.Duration
	// Clients is how many ask at the same time, 1 if 0.
	Clients int
	// KeepAlive uses a connection again. Without, each request has its own.
	KeepAlive bool
	// Rate is how many requests are begun in a second, by all clients together;
	// 0 is as many as are answered.
	Rate int
	// Pause is how long each client waits after each answer.
	Pause time.Duration
	// Timeout is for one request with its look-up and its connection, 5 s if 0.
	Timeout time.Duration
	// Size is that of a datagram and of its answer, which may not be broken up
	// on the way. It includes neither the IP header's 20 bytes nor UDP's 8.
	Size int
}

// Flags adds a flag for each field but the URL.
func (c *Config) Flags(f *flag.FlagSet) {
	f.IntVar(&c.Requests, "n", c.Requests, "how many requests")
	f.DurationVar(&c.For, "for", c.For, "how long")
	f.IntVar(&c.Clients, "c", c.Clients, "how many at the same time")
	f.BoolVar(&c.KeepAlive, "keepalive", c.KeepAlive, "use connections again")
	f.IntVar(&c.Rate, "rate", c.Rate, "how many in a second")
	f.DurationVar(&c.Pause, "pause", c.Pause, "after each answer")
	f.DurationVar(&c.Timeout, "timeout", c.Timeout, "of one request")
	f.IntVar(&c.Size, "size", c.Size, "bytes of a datagram and of its answer")
}

// Args are the URL and the flags that Flags reads.
func (c Config) Args() []string {
	return []string{
		c.URL, "-n", strconv.Itoa(c.Requests), "-for", c.For.String(), "-c", strconv.Itoa(c.Clients),
		"-keepalive=" + strconv.FormatBool(c.KeepAlive), "-rate", strconv.Itoa(c.Rate), "-pause", c.Pause.String(),
		"-timeout", c.Timeout.String(), "-size", strconv.Itoa(c.Size),
	}
}

// newAsker makes what one client asks with. Config has its defaults by now.
func (c *Config) newAsker() (func() asker, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "80")
	}
	switch u.Scheme {
	case "http":
		return func() asker { return newHTTP(c, addr, u) }, nil
	case "udp":
		return func() asker { return &datagram{cfg: c, addr: addr} }, nil
	}
	return nil, fmt.Errorf("%q: ask http://HOST[:PORT][/PATH] or udp://HOST:PORT", c.URL)
}

func (c *Config) setDefaults() {
	if c.Clients == 0 {
		c.Clients = 1
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
}
