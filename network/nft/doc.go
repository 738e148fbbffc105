// Package nft is what the balancers of virtual addresses and of published
// ports have in common: who serves, chains that spread connections over them and
// are swapped one by one, and what is tracked of connections whose end is gone.
package nft
