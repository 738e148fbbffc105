package dockerapi

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// flushes notes when it is flushed and how much had been written by then.
type flushes struct {
	*httptest.ResponseRecorder
	start time.Time
	seen  []flushed
}

type flushed struct {
	at    time.Duration
	bytes int
}

func (f *flushes) FlushError() error {
	f.seen = append(f.seen, flushed{time.Since(f.start), f.Body.Len()})
	return nil
}

func TestWhatComesAloneIsSentAtOnceAndABurstTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := &flushes{ResponseRecorder: httptest.NewRecorder(), start: time.Now()}
		w := &pacedWriter{ResponseWriter: under}
		piece := func() {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
		}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // as the proxy does for the head of an answer
		time.Sleep(time.Second)
		piece()
		for range 10 { // in no time
			piece()
		}
		time.Sleep(time.Second)
		piece()
		time.Sleep(calm / 2)
		piece()
		w.end()
		time.Sleep(time.Second)
		want := []flushed{{calm, 0}, {time.Second, 1}, {time.Second + calm, 11}, {2 * time.Second, 12}}
		if !slices.Equal(under.seen, want) {
			t.Errorf("flushed %v, want %v", under.seen, want)
		}
	})
}
