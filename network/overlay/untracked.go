package overlay

import (
	"os"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/nft"
)

// untracked is our table that keeps the host from tracking the frames between hosts. The
// kernel sees no connections in them, since replies come to another port than they
// are for: each flow of a container would be one that is never answered, and have its
// place in the host's table of connections for half a minute.
type untracked struct {
	space *nft.Space
	ns    *os.File
	known bool // that it is there, or that the kernel has no such rules to give
}

const bothFamilies = nftables.TableFamilyINet

// hooks are those by which frames come and go.
var hooks = map[string]*nftables.ChainHook{"frames-in": nftables.ChainHookPrerouting, "frames-out": nftables.ChainHookOutput}

// newUntracked is for the namespace at a path; the empty path is the program's own.
func newUntracked(path string) (*untracked, error) {
	u := &untracked{}
	if path != "" {
		ns, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		u.ns = ns
	}
	u.space = nft.Open(u.ns)
	return u, nil
}

// agree makes the table, unless it is there.
func (u *untracked) agree() error {
	if u.known {
		return nil
	}
	there, err := u.there()
	if err != nil {
		return err
	}
	u.known = true
	if there == len(hooks) {
		return nil
	}
	b := u.space.In(bothFamilies)
	b.Reset()
	for chain, hook := range hooks {
		b.Hook(chain, nftables.ChainTypeFilter, hook, *nftables.ChainPriorityRaw)
		b.Rule(chain, "frames between hosts", nft.Protocol(unix.IPPROTO_UDP), nft.ToPort(port), nft.Untracked())
	}
	return b.Flush()
}

// there is how many chains are as they should be.
func (u *untracked) there() (n int, err error) {
	for chain := range hooks {
		rules, err := u.space.Rules(bothFamilies, chain)
		if err != nil {
			return 0, err
		}
		if rules == 1 {
			n++
		}
	}
	return n, nil
}

// remove takes it away. A kernel that has no such tables may say so: nothing is left then.
func (u *untracked) remove() error {
	there, _ := u.there()
	b := u.space.In(bothFamilies)
	b.Remove()
	if err := b.Flush(); err != nil && there > 0 {
		return err
	}
	return nil
}

func (u *untracked) close() {
	u.space.Close()
	if u.ns != nil {
		_ = u.ns.Close()
	}
}
