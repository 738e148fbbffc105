package nft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// iptables are the tables that it keeps in nftables, by chains named like its hooks.
var iptables = []string{"filter", "mangle", "nat", "raw", "security"}

// Strangers reports whether chains of others, but for those of iptables, see packets
// that come by or are forwarded, and whether nobody has a say in what is let into the
// host by IPv4. A chain for that may have rules at any time, unless it is the one of
// iptables' filter table.
func (s *Space) Strangers() (see, open bool, err error) {
	c, err := s.rules()
	if err != nil {
		return false, false, err
	}
	chains, err := c.ListChains()
	if err != nil {
		s.drop()
		return false, false, fmt.Errorf("nftables: chains: %w", err)
	}
	open = true
	for _, ch := range chains {
		if ch.Hooknum == nil || ch.Table.Name == TableName {
			continue
		}
		see = see || ch.Type != nftables.ChainTypeNAT && !isIPTables(ch) && sees(ch)
		if !open || !letsIn(ch) {
			continue
		}
		if open = isFilter(ch) && *ch.Policy == nftables.ChainPolicyAccept; open {
			rules, err := c.GetRules(ch.Table, ch)
			if err != nil { // what cannot be read may be a rule
				s.drop()
			}
			open = err == nil && len(rules) == 0
		}
	}
	return see, open, nil
}

// letsIn tells the chains that decide who is let into the host by IPv4. Those of
// iptables that change addresses must not.
func letsIn(c *nftables.Chain) bool {
	return (c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyINet) &&
		*c.Hooknum == *nftables.ChainHookInput && (c.Type != nftables.ChainTypeNAT || !isIPTables(c))
}

func isFilter(c *nftables.Chain) bool {
	return isIPTables(c) && c.Table.Name == iptables[0] && c.Policy != nil
}

// inetIngress is the kernel's NF_INET_INGRESS, a hook of an interface for all families.
const inetIngress = 5

func isIPTables(c *nftables.Chain) bool {
	return (c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyIPv6) &&
		slices.Contains(iptables, c.Table.Name) && c.Name == strings.ToUpper(c.Name)
}

func sees(c *nftables.Chain) bool {
	switch {
	case c.Table.Family == nftables.TableFamilyNetdev:
		return *c.Hooknum == *nftables.ChainHookIngress
	case c.Table.Family == nftables.TableFamilyINet && *c.Hooknum == inetIngress:
		return true
	}
	return *c.Hooknum == *nftables.ChainHookPrerouting || *c.Hooknum == *nftables.ChainHookForward
}
