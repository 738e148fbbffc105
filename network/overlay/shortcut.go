package overlay

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/shortcut"
)

// shorten has a network's frames pass its bridge by where the kernel can do that.
// It is the bridge of the container's own host: what is sent to a host, or through
// it, passes that host's packet filter as before.
//
// What fails here costs speed and nothing else, so it is said and no error.
func (o *Overlay) shorten(i *installed, s *segment) {
	if o.unshortened {
		return
	}
	cut := o.shortcut(s.id)
	if cut == nil || !cut.Serves(i.vxlan) {
		if cut = o.newShortcut(i, s); cut == nil {
			return
		}
		o.mu.Lock()
		old, here := o.shortcuts[s.id], o.on(s.id)
		o.shortcuts[s.id] = cut
		o.mu.Unlock()
		if old != nil {
			old.Close()
		}
		for id, c := range here {
			o.lead(id, c, s.id)
		}
	}
	if err := cut.Far(s.stations); err != nil {
		o.cfg.Log.Warn("some frames of a network take the longer way", "network", s.name, "err", err)
	}
}

func (o *Overlay) newShortcut(i *installed, s *segment) *shortcut.Shortcut {
	cut, err := shortcut.New(o.cfg.Netns, i.vxlan)
	switch {
	case errors.Is(err, unix.ENODEV): // somebody has deleted it, and this is done again
	case errors.Is(err, errors.ErrUnsupported):
		o.unshortened = true
		o.cfg.Log.Info("frames of overlay networks take the longer way: the kernel has no tcx", "err", err)
	case err != nil:
		o.unshortened = true
		o.cfg.Log.Warn("frames of overlay networks take the longer way", "err", err)
	}
	return cut
}

func (o *Overlay) shortcut(id api.NetworkID) *shortcut.Shortcut {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shortcuts[id]
}

// on are the containers on a network. o.mu must be held.
func (o *Overlay) on(id api.NetworkID) map[string]joined {
	out := map[string]joined{}
	for name, c := range o.containers {
		if fabric.In(c.networks, id) != nil {
			out[name] = c
		}
	}
	return out
}

// lead has a container take the shortcut of a network.
func (o *Overlay) lead(name string, c joined, id api.NetworkID) {
	cut, at := o.shortcut(id), fabric.In(c.networks, id)
	if cut == nil {
		return
	}
	hw, ok := hardware(at.Addrs)
	outside, err := c.outside(at)
	if err == nil && ok && outside > 0 {
		err = cut.Join(outside, hw)
	}
	if err != nil {
		o.cfg.Log.Warn("a container's frames take the longer way", "container", name, "network", id, "err", err)
	}
}

// outside is the host's end of a container's cable, 0 if it has none.
func (c joined) outside(at *api.Attachment) (int, error) {
	inside, err := c.enter()
	if err != nil {
		return 0, err
	}
	defer inside.Close()
	end, err := interfaceWith(inside, at.Addrs)
	if end == nil || err != nil {
		return 0, err
	}
	return end.Attrs().ParentIndex, nil
}

// strand ends what a container that is gone had of shortcuts.
func (o *Overlay) strand(c joined) {
	for _, at := range c.networks {
		cut := o.shortcut(at.Network)
		hw, ok := hardware(at.Addrs)
		if cut == nil || !ok {
			continue
		}
		for outside, joined := range cut.Joined() {
			if joined != hw {
				continue
			}
			if err := cut.Leave(outside); err != nil {
				o.cfg.Log.Warn("a container that is gone has a shortcut still", "network", at.Network, "err", err)
			}
		}
	}
}

// lengthen closes the shortcuts of networks that are not here any more.
func (o *Overlay) lengthen(wanted map[api.NetworkID]*segment) {
	var gone []*shortcut.Shortcut
	o.mu.Lock()
	for id, cut := range o.shortcuts {
		if wanted[id] == nil {
			gone = append(gone, cut)
			delete(o.shortcuts, id)
		}
	}
	o.mu.Unlock()
	for _, cut := range gone {
		cut.Close()
	}
}
