package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// wrk asks for a URL from a place with wrk, for a burst, and returns how many
// requests a second were answered, https://github.com/wg/wrk. A request that
// failed is an error.
func wrk(ctx context.Context, from cluster.Place, url string, keepAlive bool) (float64, error) {
	args := []string{"wrk", "--threads", "1", "--connections", strconv.Itoa(burstClients), "--duration", burst.String()}
	if !keepAlive {
		args = append(args, "--header", "Connection: close")
	}
	out, err := from.OnNetwork(ctx, append(args, url)...)
	if err != nil {
		return 0, err
	}
	return wrkRate(url, out)
}

var (
	wrkAnswered = regexp.MustCompile(`(?m)^Requests/sec: +([0-9.]+)$`)
	wrkFailed   = regexp.MustCompile(`(?m)^ *(Socket errors|Non-2xx).*$`)
)

// wrkRate reads what wrk printed.
func wrkRate(url, out string) (float64, error) {
	if trouble := wrkFailed.FindString(out); trouble != "" {
		return 0, fmt.Errorf("wrk %s: %s", url, trouble)
	}
	rate := wrkAnswered.FindStringSubmatch(out)
	if rate == nil {
		return 0, fmt.Errorf("wrk %s: no rate in %q", url, out)
	}
	return strconv.ParseFloat(rate[1], 64)
}
