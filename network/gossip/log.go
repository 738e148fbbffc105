package gossip

import (
	"log/slog"
	"strings"
)

// debugLog is where memberlist's own log goes. What an operator should know is
// logged by this package; memberlist's levels mean less than they say.
type debugLog struct{ log *slog.Logger }

func (d debugLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if i := strings.Index(text, "memberlist: "); i >= 0 {
		text = text[i+len("memberlist: "):]
	}
	d.log.Debug("memberlist", "says", text)
	return len(line), nil
}
