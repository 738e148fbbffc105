// Package edit measures how far a word is from one that it may have been meant
// to be.
package edit

// Distance counts the characters to insert, remove, replace or swap with their
// neighbour to make b of a: the optimal string alignment distance
// (https://en.wikipedia.org/wiki/Damerau-Levenshtein_distance). Where lengths
// differ by more than limit it is limit+1 at once, so that a long word costs
// nothing.
func Distance(a, b string, limit int) int {
	if len(a) > len(b)+limit || len(b) > len(a)+limit {
		return limit + 1
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
