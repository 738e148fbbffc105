package scheduler

// candidate is a node that fits, with its rank: the least is the best.
type candidate struct {
	rank uint64
	node int32
}

// ranking is a heap of candidates, the best on top. Each has four below it: a
// flatter heap reads less memory than one of two.
type ranking struct {
	list  []candidate
	slots []slot
}

func (h *ranking) less(a, b candidate) bool {
	if a.rank != b.rank {
		return a.rank < b.rank
	}
	return h.slots[a.node].id < h.slots[b.node].id
}

// order makes a heap of the list. For a single placement it only finds the best.
func (h *ranking) order(placements int) {
	if len(h.list) < 2 {
		return
	}
	if placements == 1 {
		best := 0
		for i := range h.list {
			if h.less(h.list[i], h.list[best]) {
				best = i
			}
		}
		h.list[0], h.list[best] = h.list[best], h.list[0]
		return
	}
	for i := (len(h.list) - 2) / 4; i >= 0; i-- {
		h.down(i)
	}
}

// down lets the candidate at i sink to its place.
func (h *ranking) down(i int) {
	c := h.list[i]
	for {
		first := 4*i + 1
		if first >= len(h.list) {
			break
		}
		best := first
		for j := first + 1; j < min(first+4, len(h.list)); j++ {
			if h.less(h.list[j], h.list[best]) {
				best = j
			}
		}
		if !h.less(h.list[best], c) {
			break
		}
		h.list[i] = h.list[best]
		i = best
	}
	h.list[i] = c
}

// drop takes the best candidate out.
func (h *ranking) drop() {
	last := len(h.list) - 1
	h.list[0] = h.list[last]
	if h.list = h.list[:last]; last > 0 {
		h.down(0)
	}
}

// push puts a candidate in.
func (h *ranking) push(c candidate) {
	h.list = append(h.list, c)
	i := len(h.list) - 1
	for i > 0 {
		above := (i - 1) / 4
		if !h.less(c, h.list[above]) {
			break
		}
		h.list[i] = h.list[above]
		i = above
	}
	h.list[i] = c
}
