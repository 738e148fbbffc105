package cli

import (
	"fmt"
	"io"
	"strings"
)

// screen shows bars: on a terminal each keeps its line and is drawn anew;
// elsewhere every change is a line of its own.
type screen struct {
	w      io.Writer
	tty    bool
	width  int
	height int
	order  []string
	shown  map[string]bar
	lines  int // how many lines are on the terminal
}

func (c *call) screen() *screen {
	width, height, tty := c.terminal()
	return &screen{w: c.out, tty: tty, width: width, height: height, shown: map[string]bar{}}
}

// draw shows the bars; those of earlier calls stay.
func (s *screen) draw(bars []bar) {
	var b strings.Builder
	for _, x := range bars {
		old, known := s.shown[x.id]
		if !known {
			s.order = append(s.order, x.id)
		}
		if !s.tty && (!known || old.text != x.text) && !(x.tick && old.tick) {
			b.WriteString(s.line(x) + "\n")
		}
		s.shown[x.id] = x
	}
	if s.tty {
		s.redraw(&b)
	}
	_, _ = io.WriteString(s.w, b.String())
}

// redraw goes back to the first line and writes every one.
func (s *screen) redraw(b *strings.Builder) {
	if s.lines > 0 {
		fmt.Fprintf(b, "\x1b[%dA", s.lines)
	}
	order := s.order
	if most := s.height - 1; most > 0 && len(order) > most {
		order = order[len(order)-most:] // the cursor cannot go back above the screen
	}
	for _, id := range order {
		b.WriteString("\r\x1b[2K" + s.line(s.shown[id]) + "\n")
	}
	s.lines = len(order)
}

// line is one bar as text, no wider than the terminal.
func (s *screen) line(x bar) string {
	text := x.text
	if x.id != "" {
		text = x.id + ": " + x.text
	}
	if !s.tty {
		return strings.TrimRight(text, " ")
	}
	if x.total > 0 {
		if room := min(50, s.width-len(text)-5); room > 5 {
			full := min(room, room*x.done/x.total)
			text += fmt.Sprintf(" [%s>%s]", strings.Repeat("=", full), strings.Repeat(" ", room-full))
		}
	}
	return ellipsis(text, max(s.width-1, 2))
}

// say writes a line below the bars.
func (s *screen) say(format string, args ...any) {
	fmt.Fprintf(s.w, format+"\n", args...)
	s.order, s.lines = nil, 0
}
