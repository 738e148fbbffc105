package dockerapi

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/registry"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// stackChange is a change of a stack in the making, against one view of the
// state: operations, and what is to be told of them.
type stackChange struct {
	api    *API
	view   *state.View
	images *imageLookup
	name   string

	cause  string
	of     uint64
	digest string
	file   []byte

	ops    []state.Op
	answer api.StackAnswer
	errs   []error  // each with the name of its object
	moved  []string // what somebody else has changed meanwhile

	networks []*api.Network    // new ones
	contents map[string]string // new secrets and configs: names by ID
	ids      map[string]string // IDs of the stack's own by kind and name
	instead  map[string]string // of what is superseded: the ID of the version that takes its place
	decided  []api.ServiceID   // services that it decides about itself: no new version moves them
	content  api.StackContent
	names    []string // of the services that the stack is to have
}

func newStackChange(a *API, view *state.View, name string, images *imageLookup) *stackChange {
	return &stackChange{api: a, view: view, images: images, name: name, contents: map[string]string{}, ids: map[string]string{}, instead: map[string]string{}}
}

// deploy decides what makes the stack what is asked for. All that is wrong is
// told at once, before anything that has moved.
func (c *stackChange) deploy(req *api.StackRequest) error {
	if len(req.Services) == 0 {
		return api.Errorf(api.CodeInvalid, "stack %s: there is no service in it: give one, or remove the stack", c.name)
	}
	for _, s := range req.Remove {
		c.decided = append(c.decided, api.ServiceID(s.ID))
		c.remove(&s)
	}
	for i := range req.Services {
		c.decides(req.Services[i].Spec.Name)
	}
	for i := range req.Networks {
		c.network(&req.Networks[i])
	}
	for i := range req.Secrets {
		c.secret(&req.Secrets[i])
	}
	for i := range req.Configs {
		c.config(&req.Configs[i])
	}
	for i := range req.Services {
		c.names = append(c.names, req.Services[i].Spec.Name)
	}
	for i := range req.Services {
		c.service(&req.Services[i], nil)
	}
	return c.finish()
}

// finish adds the record of the deploy, where there is something to record.
func (c *stackChange) finish() error {
	if err := errors.Join(c.errs...); err != nil {
		return err
	}
	if len(c.moved) > 0 {
		return api.Errorf(api.CodeOutdated, "stack %s: nothing was changed: update out of sequence: somebody else has changed %s at the same time: deploy again", c.name, strings.Join(c.moved, ", "))
	}
	old := c.view.Stack(c.name)
	if current := old.Current(); current != nil {
		c.answer.Deploy = current.Number
		if n := len(old.Deploys); n > 1 {
			c.answer.Before = old.Deploys[n-2].Number
		}
		if len(c.ops) == 0 {
			return nil
		}
	}
	return c.record(old)
}

// record remembers the deploy. Before the first one that is remembered goes what
// there was already, so that there is a way back to it.
func (c *stackChange) record(old *api.Stack) error {
	packed, err := packContent(&c.content)
	if err != nil {
		return err
	}
	d := api.StackDeploy{
		Number: 1, At: c.api.cfg.Now().UTC(), Cause: c.cause, Of: c.of, Digest: c.digest, File: c.file, Content: packed, Services: len(c.content.Services),
	}
	c.refer(&d, &c.content)
	for _, change := range c.answer.Changes {
		switch {
		case change.Kind != "service":
		case change.Action == api.StackCreated:
			d.Created++
		case change.Action == api.StackUpdated:
			d.Updated++
		default:
			d.Removed++
		}
	}
	op := &state.RecordDeploy{Stack: c.name}
	if current := old.Current(); current != nil {
		d.Number, op.Version, op.Outcome = current.Number+1, old.Meta.Version.Index, stackOutcome(c.view, c.name)
	} else if found, err := c.found(); err != nil {
		return err
	} else if found != nil && len(c.ops) > 0 {
		d.Number = found.Number + 1
		op.Deploys = append(op.Deploys, *found)
	}
	if d.Size() > api.MaxHistory {
		d.File = nil // what it wanted is needed to go back to it; the file is for people
	}
	c.answer.Deploy, c.answer.Before = d.Number, d.Number-1
	op.Deploys = append(op.Deploys, d)
	c.ops = append(c.ops, state.Op{RecordDeploy: op})
	return nil
}

// found is the stack as it was deployed by single calls; nil where it is new.
func (c *stackChange) found() (*api.StackDeploy, error) {
	images := map[string]api.Image{}
	content := api.StackContent{Images: images}
	for s := range c.view.StackServices(c.name) {
		spec := s.Spec
		spec.TaskTemplate.Networks = slices.Clone(spec.TaskTemplate.Networks)
		for i, n := range spec.TaskTemplate.Networks {
			if have := c.view.Network(api.NetworkID(n.Target)); have != nil {
				spec.TaskTemplate.Networks[i].Target = have.Spec.Name
			}
		}
		content.Services = append(content.Services, spec)
		if s.Image != nil {
			images[s.Name()] = *s.Image
		}
	}
	if len(content.Services) == 0 {
		return nil, nil
	}
	for n := range c.view.Networks() {
		if n.Spec.Labels[api.LabelNamespace] == c.name {
			content.Networks = append(content.Networks, createRequest(n))
		}
	}
	packed, err := packContent(&content)
	d := &api.StackDeploy{Number: 1, At: c.api.cfg.Now().UTC(), Cause: api.StackFound, Content: packed, Services: len(content.Services), Outcome: stackOutcome(c.view, c.name)}
	c.refer(d, &content)
	return d, err
}

// createRequest is what would make a network again.
func createRequest(n *api.Network) network.CreateRequest {
	six := n.Spec.IPv6Enabled
	out := network.CreateRequest{Name: n.Spec.Name, CreateOptions: network.CreateOptions{
		Driver: api.DriverOverlay, Labels: n.Spec.Labels, Internal: n.Spec.Internal, Attachable: n.Spec.Attachable, EnableIPv6: &six,
	}}
	if d := n.Spec.DriverConfiguration; d != nil {
		out.Options = d.Options
	}
	if o := n.Spec.IPAMOptions; o != nil {
		out.IPAM = &network.IPAM{Driver: o.Driver.Name, Options: o.Driver.Options}
		for _, config := range o.Configs {
			out.IPAM.Config = append(out.IPAM.Config, network.IPAMConfig{Subnet: config.Subnet, IPRange: config.Range, Gateway: config.Gateway})
		}
	}
	return out
}

func (c *stackChange) did(action, kind, name, id string, op state.Op) {
	c.ops = append(c.ops, op)
	c.answer.Changes = append(c.answer.Changes, api.StackChange{Action: action, Kind: kind, Name: name, ID: id})
}

// refuse notes what is wrong with an object; nil is nothing.
func (c *stackChange) refuse(kind, name string, err error) bool {
	if err == nil {
		return false
	}
	c.errs = append(c.errs, fmt.Errorf("%s %s: %w", kind, name, err))
	return true
}

// own refuses what would not be found again as a part of the stack, or is of
// another one.
func (c *stackChange) own(asked map[string]string, exists bool, have map[string]string) error {
	switch owner := have[api.LabelNamespace]; {
	case asked[api.LabelNamespace] != c.name:
		return api.Errorf(api.CodeInvalid, "it needs the label %s=%s to be of the stack", api.LabelNamespace, c.name)
	case !exists || owner == c.name:
		return nil
	case owner == "":
		return api.Errorf(api.CodeConflict, "it is there already and is not of a stack: declare it as external, or give this one another name")
	default:
		return api.Errorf(api.CodeConflict, "it is there already and is of the stack %q: declare it as external, or give this one another name", owner)
	}
}

// remove removes a service; one that is gone already is fine.
func (c *stackChange) remove(s *api.StackRemoval) {
	old := c.view.Service(api.ServiceID(s.ID))
	switch {
	case old == nil:
	case old.Spec.Labels[api.LabelNamespace] != c.name:
		c.refuse("service", old.Name(), api.Errorf(api.CodeConflict, "it is not of the stack, and is not removed with it"))
	case old.Meta.Version.Index != s.Version:
		c.moved = append(c.moved, "service "+old.Name())
	default:
		c.did(api.StackRemoved, "service", old.Name(), s.ID, state.Op{DeleteService: &state.DeleteService{ID: old.ID}})
	}
}

// network creates one that is not there. Networks cannot be changed, so one that
// is there stays as it is.
func (c *stackChange) network(req *network.CreateRequest) {
	c.content.Networks = append(c.content.Networks, *req)
	old := c.view.NetworkByName(req.Name)
	if old != nil {
		c.refuse("network", req.Name, c.own(req.Labels, true, old.Spec.Labels))
		return
	}
	spec, err := networkSpec(req)
	if err == nil {
		err = c.own(req.Labels, false, nil)
	}
	n := &api.Network{ID: api.NetworkID(c.api.cfg.NewID()), Spec: spec}
	if err == nil {
		err = c.api.allot(c.view, n, c.networks)
	}
	if c.refuse("network", req.Name, err) {
		return
	}
	c.networks = append(c.networks, n)
	c.did(api.StackCreated, "network", req.Name, string(n.ID), state.Op{CreateNetwork: n})
}

// findNetwork finds one that is to be created too.
func (c *stackChange) findNetwork(ref string) (*api.Network, error) {
	for _, n := range c.networks {
		if n.Spec.Name == ref {
			return n, nil
		}
	}
	return c.view.FindNetwork(ref)
}

// service creates or updates one, where it is not as it is to be. pinned is which
// image its reference is, where that is known.
func (c *stackChange) service(s *api.StackService, pinned *api.Image) {
	spec := s.Spec
	name := spec.Name
	servicespec.Normalise(&spec)
	c.identify(&spec)
	c.content.Services = append(c.content.Services, spec)
	old := c.view.ServiceByName(name)
	auth, err := decodedAuth(s.Auth)
	if err == nil {
		err = c.checkService(old, &spec)
	}
	if c.refuse("service", name, err) {
		return
	}
	image := pinned
	if image == nil {
		image = c.image(old, &spec, s.Resolve)
	}
	c.pin(name, image)
	switch {
	case old == nil && s.Version != 0, old != nil && s.Version == 0:
		c.moved = append(c.moved, "service "+name)
	case old == nil:
		next := &api.Service{ID: api.ServiceID(c.api.cfg.NewID()), Spec: spec, RegistryAuth: auth, Image: image}
		c.did(api.StackCreated, "service", name, string(next.ID), state.Op{PutService: next})
		c.answer.Warnings = append(c.answer.Warnings, specWarnings(c.view, &spec, c.names...)...)
	case sameSpec(&old.Spec, &spec) && old.Image.Same(image) && (auth == "" || auth == old.RegistryAuth):
	case old.Meta.Version.Index != s.Version:
		c.moved = append(c.moved, "service "+name)
	default:
		c.update(old, spec, image, auth)
	}
}

func (c *stackChange) update(old *api.Service, spec api.ServiceSpec, image *api.Image, auth api.RegistryAuth) {
	next := state.Updated(c.view, old, spec, image)
	next.RegistryAuth = cmp.Or(auth, old.RegistryAuth)
	c.did(api.StackUpdated, "service", old.Name(), string(old.ID), state.Op{PutService: next})
	if !newImage(old, &spec) && old.Image != nil && image != nil && !image.Is(old.Image) {
		last := &c.answer.Changes[len(c.answer.Changes)-1]
		last.ImageWas, last.ImageIs = old.Image.ShortID(), image.ShortID()
	}
	c.answer.Warnings = append(c.answer.Warnings, warnings(c.view, old, next, false, c.names...)...)
	if next.Spec.Labels[api.LabelStopped] == "" && old.Stopped() {
		c.answer.Warnings = append(c.answer.Warnings, "service "+old.Name()+" was stopped: it is started")
	}
}

// image is which image a spec's reference is. With resolve it is looked up though
// the service has one.
func (c *stackChange) image(old *api.Service, spec *api.ServiceSpec, resolve bool) *api.Image {
	if !resolve {
		return c.images.of(old, spec)
	}
	image, other := c.images.newer(old, spec)
	if other != nil {
		name := spec.TaskTemplate.ContainerSpec.Image
		c.answer.Warnings = append(c.answer.Warnings, fmt.Sprintf("service %s: it keeps image %s, as %s, which is %s on the manager that was asked, was not built later: `swarmctl service update --force --image %s %s` takes that one",
			spec.Name, image.ShortID(), name, other.ShortID(), name, spec.Name))
	}
	return image
}

// pin has the record of the deploy say which image a service is to run.
func (c *stackChange) pin(service string, image *api.Image) {
	if image == nil {
		return
	}
	if c.content.Images == nil {
		c.content.Images = map[string]api.Image{}
	}
	c.content.Images[service] = *image
}

// pinned is which image a deploy had for a service; nil where it does not say.
func pinned(content *api.StackContent, service string) *api.Image {
	if image, ok := content.Images[service]; ok {
		return &image
	}
	return nil
}

// checkService names the networks of a spec by their IDs, and holds it to what
// single calls hold it to.
func (c *stackChange) checkService(old *api.Service, spec *api.ServiceSpec) error {
	have := map[string]string(nil)
	var before *api.ServiceSpec
	if old != nil {
		have, before = old.Spec.Labels, &old.Spec
	}
	if err := c.own(spec.Labels, old != nil, have); err != nil {
		return err
	}
	if err := servicespec.ResolveNetworks(spec, c.findNetwork); err != nil {
		return err
	}
	for _, r := range api.ContentRefs(spec.TaskTemplate.ContainerSpec) {
		if r.ID == "" && r.Name != "" {
			return api.Errorf(api.CodeInvalid, "%s not found: %s", r.Kind, r.Name)
		}
	}
	storedMode(c.view, spec)
	if err := servicespec.Validate(spec); err != nil {
		return err
	}
	if err := checkPod(c.view, spec); err != nil {
		return err
	}
	if err := c.view.CheckContentsWith(spec, c.contents); err != nil {
		return err
	}
	if before != nil {
		if err := servicespec.CheckUpdate(before, spec); err != nil {
			return err
		}
	}
	return checkPolicy(c.view, before, spec)
}

// identify fills in the IDs of secrets and configs that the spec has by name:
// those of the stack, or others that there are. What has an ID keeps it, unless
// that is of a version which is superseded by this very change.
func (c *stackChange) identify(spec *api.ServiceSpec) {
	if spec.TaskTemplate.ContainerSpec == nil {
		return
	}
	box := *spec.TaskTemplate.ContainerSpec
	box.Secrets, box.Configs = slices.Clone(box.Secrets), slices.Clone(box.Configs)
	for i, r := range box.Secrets {
		if r == nil || r.SecretID != "" && c.instead[r.SecretID] == "" {
			continue
		}
		ref := *r
		ref.SecretID = cmp.Or(c.instead[r.SecretID], c.ids["secret "+ref.SecretName])
		if s := c.view.SecretByName(ref.SecretName); ref.SecretID == "" && s != nil {
			ref.SecretID = string(s.ID)
		}
		box.Secrets[i] = &ref
	}
	for i, r := range box.Configs {
		if r == nil || r.ConfigID != "" && c.instead[r.ConfigID] == "" {
			continue
		}
		ref := *r
		ref.ConfigID = cmp.Or(c.instead[r.ConfigID], c.ids["config "+ref.ConfigName])
		if o := c.view.ConfigByName(ref.ConfigName); ref.ConfigID == "" && o != nil {
			ref.ConfigID = string(o.ID)
		}
		box.Configs[i] = &ref
		if p := box.Privileges; ref.Runtime != nil && p != nil && p.CredentialSpec != nil {
			credentials, privileges := *p.CredentialSpec, *p
			credentials.Config = ref.ConfigID
			privileges.CredentialSpec, box.Privileges = &credentials, &privileges
		}
	}
	spec.TaskTemplate.ContainerSpec = &box
}

// rollBack decides what makes the stack what an earlier deploy wanted, with the
// secrets and configs that it used.
func (c *stackChange) rollBack(req *api.StackRollback) error {
	stack, err := rememberedStack(c.view, c.name)
	if err != nil {
		return err
	}
	current := stack.Current()
	if req.From != 0 && req.From != current.Number {
		return api.Errorf(api.CodeConflict, "stack %s: nothing was changed: deploy %d is in force by now, not %d", c.name, current.Number, req.From)
	}
	to := req.To
	if n := len(stack.Deploys); to == 0 && n > 1 {
		to = stack.Deploys[n-2].Number
	}
	target := stack.Deploy(to)
	switch {
	case to == 0:
		return api.Errorf(api.CodeInvalid, "stack %s has one deploy, and none before it to go back to", c.name)
	case target == nil:
		return api.Errorf(api.CodeNotFound, "stack %s: deploy %d is not remembered: there are %d to %d, see `swarmctl stack history %s`", c.name, to, stack.Deploys[0].Number, current.Number, c.name)
	}
	content, err := unpackContent(target.Content)
	if err != nil {
		return fmt.Errorf("stack %s: deploy %d: %w", c.name, to, err)
	}
	c.cause, c.of, c.digest, c.file = api.StackFromRollback, to, target.Digest, target.File
	return c.restore(content, req.Prune)
}

// restore makes the stack what a content says. The versions are those that there
// are: whoever goes back means whatever is there now.
func (c *stackChange) restore(content *api.StackContent, prune bool) error {
	wanted := map[string]bool{}
	for i := range content.Services {
		wanted[content.Services[i].Name] = true
		c.names = append(c.names, content.Services[i].Name)
	}
	for s := range c.view.StackServices(c.name) {
		switch {
		case wanted[s.Name()]:
		case prune:
			c.decided = append(c.decided, s.ID)
			c.remove(&api.StackRemoval{ID: string(s.ID), Version: s.Meta.Version.Index})
		default:
			c.answer.Kept = append(c.answer.Kept, s.Name())
		}
	}
	for i := range content.Networks {
		c.network(&content.Networks[i])
	}
	for i := range content.Services {
		c.decides(content.Services[i].Name)
	}
	c.bringBack(content)
	for _, spec := range content.Services {
		s := api.StackService{Spec: spec}
		if old := c.view.ServiceByName(spec.Name); old != nil {
			s.Version = old.Meta.Version.Index
			s.Spec.TaskTemplate.ForceUpdate = old.Spec.TaskTemplate.ForceUpdate // who forced an update did not ask for another spec
		}
		c.service(&s, pinned(content, spec.Name))
	}
	return c.finish()
}

// pause stops the services of the stack, or starts those that are stopped.
func (c *stackChange) pause(stop bool) error {
	count := 0
	for s := range c.view.StackServices(c.name) {
		if count++; s.Stopped() == stop {
			continue
		}
		c.did(api.StackUpdated, "service", s.Name(), string(s.ID), state.Op{PutService: state.Paused(s, stop)})
	}
	if count == 0 {
		return api.Errorf(api.CodeNotFound, "stack %s not found", c.name)
	}
	return nil
}

// decodedAuth checks credentials as registryAuth does those of a header.
func decodedAuth(value string) (api.RegistryAuth, error) {
	if value == "" {
		return "", nil
	}
	if _, err := registry.DecodeAuthConfig(value); err != nil {
		return "", api.Errorf(api.CodeInvalid, "its credentials must be the JSON of an AuthConfig in URL-safe base64")
	}
	return api.RegistryAuth(value), nil
}
