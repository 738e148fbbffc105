package shortcut

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

const (
	noPrealloc = 1  // BPF_F_NO_PREALLOC
	next       = -1 // TCX_NEXT: as if nothing had looked at the frame
)

// outwards sends frames for stations that are in the table out of the interface
// they are behind.
func outwards(t *ebpf.Map) asm.Instructions { return redirect(t, asm.FnRedirect) }

// inwards puts frames for them into the namespace at the other end of their
// cables, without another queue.
func inwards(t *ebpf.Map) asm.Instructions { return redirect(t, asm.FnRedirectPeer) }

// redirect looks a frame's destination up and has one of the kernel's functions
// take it where the table says.
func redirect(t *ebpf.Map, how asm.BuiltinFunc) asm.Instructions {
	const onStack = -8 // where the key is
	return asm.Instructions{
		// The frame begins with the address it is for.
		asm.Mov.Imm(asm.R2, 0),
		asm.StoreMem(asm.RFP, onStack, asm.R2, asm.DWord),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, onStack),
		asm.Mov.Imm(asm.R4, int32(len(MAC{}))),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "next"),
		asm.LoadMapPtr(asm.R1, t.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, onStack),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "next"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		asm.Mov.Imm(asm.R2, 0),
		how.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, next).WithSymbol("next"),
		asm.Return(),
	}
}

func program(name string, code asm.Instructions) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, Instructions: code, License: "Apache-2.0"})
}
