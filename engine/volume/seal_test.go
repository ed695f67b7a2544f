package volume

import (
	"encoding/binary"

	"penstock/erasure"
)

// sealHeader gives the first sector of a header the checksum of what it holds.
func sealHeader(b []byte) {
	binary.LittleEndian.PutUint64(b[headerSumAt:], erasure.Checksum(b[:headerSumAt]))
}

// SealHeader and what follows let the tests outside the package forge headers.
var SealHeader = sealHeader

// Offsets of header fields.
const (
	VersionAt = 4
	ClusterAt = 40
	CellAt    = 8
)
