package dockerapi

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// pieces is a body of one byte a read, each after a wait.
type pieces struct {
	left int
	wait time.Duration
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(p.wait)
	p.left--
	return copy(b, "x"), nil
}

func TestOnlyABurstOfSmallPiecesIsLetGather(t *testing.T) {
	const burst = 100
	for _, tt := range []struct {
		name  string
		body  io.Reader
		size  int
		pause bool
	}{
		{"a burst", &pieces{left: burst}, burst, true},
		{"pieces now and then", &pieces{left: burst, wait: gatherQuick}, burst, false},
		{"a few pieces", &pieces{left: gatherAfter}, gatherAfter, false},
		{"large pieces", strings.NewReader(strings.Repeat("x", 100*gatherBelow)), 100 * gatherBelow, false},
	} {
		res := &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: io.NopCloser(tt.body)}
		gather(res)
		start, got, buf := time.Now(), 0, make([]byte, gatherBelow)
		for {
			n, err := res.Body.Read(buf)
			got += n
			if err == io.EOF {
				break
			}
		}
		g := res.Body.(*gatherer)
		if paused := g.timer != 0; got != tt.size || paused != tt.pause {
			t.Errorf("%s: %d bytes of %d, paused: %v", tt.name, got, tt.size, paused)
		}
		if least := burst / 2 * gatherFor; tt.pause && time.Since(start) < least {
			t.Errorf("%s: all was read in %s, not in %s", tt.name, time.Since(start), least)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStreamsInBothDirectionsAreLeftAlone(t *testing.T) {
	body := io.NopCloser(strings.NewReader(""))
	for _, res := range []*http.Response{
		{StatusCode: http.StatusSwitchingProtocols, ContentLength: -1, Body: body},
		{StatusCode: http.StatusOK, ContentLength: 0, Body: body},
	} {
		if gather(res); res.Body != body {
			t.Errorf("%d: the body is a %T", res.StatusCode, res.Body)
		}
	}
}
