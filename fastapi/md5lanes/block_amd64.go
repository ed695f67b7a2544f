package md5lanes

import "github.com/klauspost/cpuid/v2"

//go:generate go run gen.go

// wide reports whether the processor has the registers that blocks16 uses.
var wide = cpuid.CPU.Supports(cpuid.AVX512F)

// blocks16 takes count blocks of 64 bytes of each lane into its state; all lanes must point to that many.
//
//go:noescape
func blocks16(state *[4][Lanes]uint32, lanes *[Lanes]*byte, count int)
