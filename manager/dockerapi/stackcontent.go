package dockerapi

import (
	"cmp"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// held is a secret or a config of a stack: what there is, and what is to become
// of it.
type held struct {
	kind       string
	id         string // empty: it is new
	spec, have swarm.Annotations
	version    uint64
	err        error

	op   state.Op
	next string // its ID afterwards
	ok   bool   // the operation is needed
}

// hold decides about a secret or a config: what becomes of it, if anything.
func (c *stackChange) hold(h *held, asked uint64) api.StackRef {
	name := h.spec.Name
	if h.next != h.id { // also where it is refused: its services are not to blame
		c.contents[h.next] = name
	}
	switch {
	case c.refuse(h.kind, name, cmp.Or(h.err, c.own(h.spec.Labels, h.id != "", h.have.Labels))):
	case h.id == "":
		c.did(api.StackCreated, h.kind, name, h.next, h.op)
	case !h.ok:
	case asked != h.version:
		c.moved = append(c.moved, h.kind+" "+name)
	default:
		c.did(api.StackUpdated, h.kind, name, h.next, h.op)
		c.supersede(h.id, h.next, h.op.PutVersion)
	}
	c.ids[h.kind+" "+name] = h.next
	return api.StackRef{ID: h.next, Name: name, Labels: h.spec.Labels}
}

func (c *stackChange) secret(s *api.StackSecret) {
	id := api.SecretID(c.api.cfg.NewID())
	h := &held{kind: "secret", spec: s.Spec.Annotations, err: checkSecret(&s.Spec), next: string(id), op: state.Op{PutSecret: &api.Secret{ID: id, Spec: s.Spec}}}
	if old := c.view.SecretByName(s.Spec.Name); old != nil {
		h.id, h.have, h.version = string(old.ID), old.Spec.Annotations, old.Meta.Version.Index
		var next *api.Secret
		if h.op, next, _, h.ok = c.view.ChangeSecret(old, s.Spec, id, c.decided...); !h.ok {
			next = old
		}
		h.next = string(next.ID)
	}
	c.content.Secrets = append(c.content.Secrets, c.hold(h, s.Version))
}

func (c *stackChange) config(s *api.StackConfig) {
	id := api.ConfigID(c.api.cfg.NewID())
	h := &held{
		kind: "config", spec: s.Spec.Annotations, err: checkContent("config", s.Spec.Annotations, s.Spec.Data, maxConfig, s.Spec.Templating),
		next: string(id), op: state.Op{PutConfig: &api.Config{ID: id, Spec: s.Spec}},
	}
	if old := c.view.ConfigByName(s.Spec.Name); old != nil {
		h.id, h.have, h.version = string(old.ID), old.Spec.Annotations, old.Meta.Version.Index
		var next *api.Config
		if h.op, next, _, h.ok = c.view.ChangeConfig(old, s.Spec, id, c.decided...); !h.ok {
			next = old
		}
		h.next = string(next.ID)
	}
	c.content.Configs = append(c.content.Configs, c.hold(h, s.Version))
}

// decides notes a service that the change puts itself, where it is to change.
func (c *stackChange) decides(name string) {
	if s := c.view.ServiceByName(name); s != nil {
		c.decided = append(c.decided, s.ID)
	}
}

// supersede notes that a version takes the place of another, and which services
// move to it besides those of the change: others may use what is of the stack.
func (c *stackChange) supersede(old, next string, p *state.PutVersion) {
	if p == nil {
		return
	}
	c.instead[old] = next
	for _, s := range c.view.MovedBy(p) {
		change := api.StackChange{Action: api.StackUpdated, Kind: "service", Name: s.Name(), ID: string(s.ID)}
		if !slices.Contains(c.answer.Changes, change) {
			c.answer.Changes = append(c.answer.Changes, change)
			c.answer.Warnings = append(c.answer.Warnings, moveWarnings(s)...)
		}
	}
}

// bringBack gives the names of the stack's secrets and configs the versions that
// an earlier deploy had. They are there for as long as it is remembered; what was
// removed and created anew meanwhile is another thing, which its services miss.
func (c *stackChange) bringBack(content *api.StackContent) {
	c.content.Secrets, c.content.Configs = content.Secrets, content.Configs
	for _, r := range content.Secrets {
		now, kept := c.view.SecretByName(r.Name), c.view.Secret(api.SecretID(r.ID))
		if now == nil || kept == nil || now == kept {
			continue
		}
		next := *kept
		next.Spec.Labels, next.Meta.Version = r.Labels, now.Meta.Version
		c.again("secret", r.Name, string(now.ID), r.ID, &state.PutVersion{Secret: &next, Except: c.decided})
	}
	for _, r := range content.Configs {
		now, kept := c.view.ConfigByName(r.Name), c.view.Config(api.ConfigID(r.ID))
		if now == nil || kept == nil || now == kept {
			continue
		}
		next := *kept
		next.Spec.Labels, next.Meta.Version = r.Labels, now.Meta.Version
		c.again("config", r.Name, string(now.ID), r.ID, &state.PutVersion{Config: &next, Except: c.decided})
	}
}

func (c *stackChange) again(kind, name, old, next string, p *state.PutVersion) {
	c.did(api.StackUpdated, kind, name, next, state.Op{PutVersion: p})
	c.supersede(old, next, p)
}

// refer notes which secrets and configs a deploy refers to, which keeps them: its
// services', and its own, also where only others use them. What has been removed
// is not kept by anything.
func (c *stackChange) refer(d *api.StackDeploy, content *api.StackContent) {
	var list []api.ContentRef
	for _, r := range content.Secrets {
		list = append(list, api.ContentRef{Kind: "secret", ID: r.ID})
	}
	for _, r := range content.Configs {
		list = append(list, api.ContentRef{Kind: "config", ID: r.ID})
	}
	for i := range content.Services {
		list = append(list, api.ContentRefs(content.Services[i].TaskTemplate.ContainerSpec)...)
	}
	for _, r := range list {
		secret, config := api.SecretID(r.ID), api.ConfigID(r.ID)
		_, isNew := c.contents[r.ID]
		switch {
		case r.Kind == "secret" && (isNew || c.view.Secret(secret) != nil) && !slices.Contains(d.Secrets, secret):
			d.Secrets = append(d.Secrets, secret)
		case r.Kind == "config" && (isNew || c.view.Config(config) != nil) && !slices.Contains(d.Configs, config):
			d.Configs = append(d.Configs, config)
		}
	}
}
