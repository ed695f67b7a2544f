package engine

import "penstock/erasure"

// CRC64NVME returns the checksum of b.
func CRC64NVME(b []byte) uint64 { return erasure.Checksum(b) }

// CombineCRC64NVME returns the checksum of A followed by B, from the checksums of both and the length of B.
func CombineCRC64NVME(a, b uint64, lenB int64) uint64 { return erasure.Combine(a, b, lenB) }

// CombineCRC32 is CombineCRC64NVME for CRC32.
func CombineCRC32(a, b uint32, lenB int64) uint32 { return erasure.CombineCRC32(a, b, lenB) }

// CombineCRC32C is CombineCRC64NVME for CRC32C.
func CombineCRC32C(a, b uint32, lenB int64) uint32 { return erasure.CombineCRC32C(a, b, lenB) }
