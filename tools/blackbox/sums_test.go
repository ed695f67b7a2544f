package blackbox

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// crc32Of is the value of x-amz-checksum-crc32.
func crc32Of(body []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
}
