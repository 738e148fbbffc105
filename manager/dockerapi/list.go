package dockerapi

import (
	"encoding/json"
	"iter"
	"net/http"
)

// sendAt is how much of a list is gathered before it is sent: enough that
// sending costs little, and no more, so that a long list needs no memory.
const sendAt = 64 << 10

// writeList answers with a list, row by row as json.Marshal would write it
// whole. Once rows have been sent an error can only break the answer off.
func writeList[T any](w http.ResponseWriter, rows iter.Seq[T], appendRow func([]byte, T) ([]byte, error)) error {
	b, sent := append(make([]byte, 0, sendAt+sendAt/8), '['), false
	for row := range rows {
		if sent || len(b) > 1 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendRow(b, row); err != nil && sent {
			panic(http.ErrAbortHandler)
		} else if err != nil {
			return err
		}
		if len(b) < sendAt {
			continue
		}
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write(b); err != nil {
			return nil // the reader has gone
		}
		b, sent = b[:0], true
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, "]\n"...)) // a reader who has gone needs no error
	return nil
}

// appendJSON is the row of a list that json.Marshal writes.
func appendJSON[T any](b []byte, row T) ([]byte, error) {
	data, err := json.Marshal(row)
	return append(b, data...), err
}
