package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// Sum is what one end says of a stream: equal sums mean that one end has written
// what the other one has read.
type Sum struct {
	Entries int64  // files, folders, links and so on, with the volume's own folder
	Bytes   int64  // of the stream
	SHA256  string // of the stream, in hex
}

// meter sums up what passes it.
type meter struct {
	hash  hash.Hash
	bytes int64
}

func newMeter() *meter { return &meter{hash: sha256.New()} }

// Write implements io.Writer.
func (m *meter) Write(p []byte) (int, error) {
	m.bytes += int64(len(p))
	return m.hash.Write(p)
}

func (m *meter) sum(entries int64) Sum {
	return Sum{Entries: entries, Bytes: m.bytes, SHA256: hex.EncodeToString(m.hash.Sum(nil))}
}

// drain reads the end of a stream: tar stops at its own.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
