package wire

import "github.com/swarmctl/swarmctl/api"

// EncodeLoad makes the message for how busy a node is; nil stays nil.
func EncodeLoad(l *api.NodeLoad) *NodeLoad {
	if l == nil {
		return nil
	}
	return &NodeLoad{Cpu: uint32(l.CPU), Memory: uint32(l.Memory)}
}

// DecodeLoad is the inverse of EncodeLoad. More than 100 % counts as 100.
func DecodeLoad(m *NodeLoad) *api.NodeLoad {
	if m == nil {
		return nil
	}
	return &api.NodeLoad{CPU: uint8(min(100, m.GetCpu())), Memory: uint8(min(100, m.GetMemory()))}
}
