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
// that come by or are forwarded.
func (s *Space) Strangers() (bool, error) {
	c, err := s.rules()
	if err != nil {
		return false, err
	}
	chains, err := c.ListChains()
	if err != nil {
		s.drop()
		return false, fmt.Errorf("nftables: chains: %w", err)
	}
	return slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		return c.Hooknum != nil && c.Type != nftables.ChainTypeNAT && c.Table.Name != TableName && !isIPTables(c) && sees(c)
	}), nil
}

func isIPTables(c *nftables.Chain) bool {
	return (c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyIPv6) &&
		slices.Contains(iptables, c.Table.Name) && c.Name == strings.ToUpper(c.Name)
}

func sees(c *nftables.Chain) bool {
	if c.Table.Family == nftables.TableFamilyNetdev {
		return *c.Hooknum == *nftables.ChainHookIngress
	}
	return *c.Hooknum == *nftables.ChainHookPrerouting || *c.Hooknum == *nftables.ChainHookForward
}
