package dns

import (
	"hash/maphash"
	"maps"
)

// book is a map that never changes: an edit makes another one, which shares
// all pages with it but those that were written to. So one name among many
// thousands is changed in microseconds while others read.
type book[K comparable, V any] struct {
	pages []map[K]V // as many as a power of two
	size  int
}

// perPage is how many entries a page has before there are more pages: few make
// an edit cheap, many save memory.
const perPage = 32

var seed = maphash.MakeSeed()

func newBook[K comparable, V any]() *book[K, V] {
	return &book[K, V]{pages: make([]map[K]V, 1)}
}

func (b *book[K, V]) page(k K) int {
	return int(maphash.Comparable(seed, k) & uint64(len(b.pages)-1))
}

func (b *book[K, V]) get(k K) (V, bool) {
	v, ok := b.pages[b.page(k)][k]
	return v, ok
}

// edit is a book that is being written. The one it began with stays as it is.
type edit[K comparable, V any] struct {
	book[K, V]
	own []bool // pages that no other book has
}

func (b *book[K, V]) edit() *edit[K, V] {
	e := &edit[K, V]{own: make([]bool, len(b.pages))}
	e.pages, e.size = append(e.pages, b.pages...), b.size
	return e
}

// done is the book as it was written; the edit must not be used any more.
func (e *edit[K, V]) done() *book[K, V] { return &book[K, V]{e.pages, e.size} }

func (e *edit[K, V]) set(k K, v V) {
	if e.size >= perPage*len(e.pages) {
		e.grow()
	}
	p := e.mine(k)
	if _, ok := p[k]; !ok {
		e.size++
	}
	p[k] = v
}

func (e *edit[K, V]) drop(k K) {
	if _, ok := e.get(k); ok {
		delete(e.mine(k), k)
		e.size--
	}
}

// mine is the page of a key, copied if others read it.
func (e *edit[K, V]) mine(k K) map[K]V {
	i := e.page(k)
	if !e.own[i] {
		e.own[i] = true
		if e.pages[i] = maps.Clone(e.pages[i]); e.pages[i] == nil {
			e.pages[i] = map[K]V{}
		}
	}
	return e.pages[i]
}

// grow spreads everything over four times as many pages.
func (e *edit[K, V]) grow() {
	old := e.pages
	e.pages = make([]map[K]V, 4*len(old))
	e.own = make([]bool, len(e.pages))
	for _, p := range old {
		for k, v := range p {
			e.mine(k)[k] = v
		}
	}
}
