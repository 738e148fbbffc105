package docker

import "github.com/docker/docker/api/types/swarm"

// securityOpt writes privileges down as the engine's --security-opt does.
func securityOpt(p *swarm.Privileges) []string {
	if p == nil {
		return nil
	}
	var opts []string
	add := func(wanted bool, opt string) {
		if wanted {
			opts = append(opts, opt)
		}
	}
	if c := p.CredentialSpec; c != nil {
		add(c.File != "", "credentialspec=file://"+c.File)
		add(c.Registry != "", "credentialspec=registry://"+c.Registry)
		add(c.Config != "", "credentialspec=config://"+c.Config)
	}
	if s := p.SELinuxContext; s != nil {
		add(s.Disable, "label=disable")
		add(s.User != "", "label=user:"+s.User)
		add(s.Role != "", "label=role:"+s.Role)
		add(s.Level != "", "label=level:"+s.Level)
		add(s.Type != "", "label=type:"+s.Type)
	}
	if s := p.Seccomp; s != nil {
		add(s.Mode == swarm.SeccompModeUnconfined, "seccomp=unconfined")
		add(s.Mode == swarm.SeccompModeCustom, "seccomp="+string(s.Profile))
	}
	if a := p.AppArmor; a != nil {
		add(a.Mode == swarm.AppArmorModeDisabled, "apparmor=unconfined")
	}
	add(p.NoNewPrivileges, "no-new-privileges=true")
	return opts
}
