package fastapi

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"strings"

	"penstock/engine"
)

// algorithm is one of the checksums that S3 keeps with an object; the zero value is none.
type algorithm uint8

const (
	algNone algorithm = iota
	algCRC32
	algCRC32C
	algCRC64NVME
	algSHA1
	algSHA256
	numAlgorithms
)

// algorithms says how each checksum is written: its name in requests, its header and XML element, the attribute it
// is stored under, its bytes, and which of the two kinds of checksum over a multipart object it can give.
var algorithms = [numAlgorithms]struct {
	name, header, element, attr string
	size                        int
	full, composite             bool
}{
	algCRC32:     {"CRC32", "x-amz-checksum-crc32", "ChecksumCRC32", "crc32", 4, true, true},
	algCRC32C:    {"CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C", "crc32c", 4, true, true},
	algCRC64NVME: {"CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME", "crc64nvme", 8, true, false},
	algSHA1:      {"SHA1", "x-amz-checksum-sha1", "ChecksumSHA1", "sha1", 20, false, true},
	algSHA256:    {"SHA256", "x-amz-checksum-sha256", "ChecksumSHA256", "sha256", 32, false, true},
}

func (a algorithm) name() string   { return algorithms[a].name }
func (a algorithm) header() string { return algorithms[a].header }
func (a algorithm) attr() string   { return algorithms[a].attr }

// The types of a checksum over a multipart object: of all its bytes, or of the checksums of its parts.
const (
	typeFull      = "FULL_OBJECT"
	typeComposite = "COMPOSITE"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newHash returns a hash, or nil for CRC64NVME, which the engine computes of every body anyway.
func (a algorithm) newHash() hash.Hash {
	switch a {
	case algCRC32:
		return crc32.NewIEEE()
	case algCRC32C:
		return crc32.New(castagnoli)
	case algSHA1:
		return sha1.New()
	case algSHA256:
		return sha256.New()
	}
	return nil
}

// parseAlgorithm reads an algorithm's name, in any case.
func parseAlgorithm(name string) (algorithm, bool) {
	for a := algNone + 1; a < numAlgorithms; a++ {
		if strings.EqualFold(name, algorithms[a].name) {
			return a, true
		}
	}
	return algNone, false
}

// algorithmOfHeader returns the algorithm of an x-amz-checksum-… header, in any case.
func algorithmOfHeader(header string) algorithm {
	for a := algNone + 1; a < numAlgorithms; a++ {
		if strings.EqualFold(header, algorithms[a].header) {
			return a
		}
	}
	return algNone
}

// valid reports whether value is the base64 of a checksum of this algorithm.
func (a algorithm) valid(value string) bool {
	raw, err := base64.StdEncoding.Strict().DecodeString(value)
	return err == nil && len(raw) == algorithms[a].size
}

// checksum is what a request says of its body's checksum.
type checksum struct {
	alg     algorithm
	value   string // Expected, in base64; "" when it is only asked for or follows in the trailer.
	trailer bool
}

// readChecksum reads the checksum headers of a request with a body.
func readChecksum(h *headers) (checksum, error) {
	var c checksum
	count := 0
	for i := range h.fields {
		name := h.fields[i].name
		if !strings.HasPrefix(name, "x-amz-checksum-") {
			continue
		}
		switch name {
		case "x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode":
			continue
		}
		a := algorithmOfHeader(name)
		if a == algNone {
			return c, notImplemented("Header", name)
		}
		if count++; count > 1 {
			return c, errInvalidRequest.message("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		c.alg, c.value = a, h.fields[i].value
		if !a.valid(c.value) {
			return c, errInvalidRequest.message("Value for " + name + " header is invalid.")
		}
	}
	if trailer := h.get("x-amz-trailer"); trailer != "" {
		a := algorithmOfHeader(trimSpace(trailer))
		if a == algNone {
			return c, errInvalidRequest.message("The value specified in the x-amz-trailer header is not supported")
		}
		if count > 0 {
			return c, errInvalidRequest.message("Expecting a single x-amz-checksum- header")
		}
		c.alg, c.trailer = a, true
	}
	if name := h.get("x-amz-sdk-checksum-algorithm"); name != "" {
		a, ok := parseAlgorithm(name)
		if !ok {
			return c, errInvalidRequest.message("Value for x-amz-sdk-checksum-algorithm header is invalid.")
		}
		if c.alg == algNone {
			return c, errInvalidRequest.message("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
		}
		if a != c.alg {
			return c, errInvalidRequest.message("Value for x-amz-sdk-checksum-algorithm header is invalid.")
		}
	}
	return c, nil
}

// mismatch is the error for a body that does not have the checksum it came with.
func (a algorithm) mismatch() *apiError {
	return errChecksumMismatch.message("The " + a.name() + " you specified did not match the calculated checksum.")
}

// encodeCRC64 returns the base64 of a CRC64NVME.
func encodeCRC64(sum uint64) string {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], sum)
	return base64.StdEncoding.EncodeToString(raw[:])
}

// storedChecksum finds the checksum among an object's or part's attributes.
func storedChecksum(attrs []engine.Attr) (alg algorithm, value, kind string) {
	kind = typeFull
	for i := range attrs {
		switch name := attrs[i].Name; name {
		case attrChecksumType:
			kind = attrs[i].Value
		default:
			if a := algorithmOfAttr(name); a != algNone {
				alg, value = a, attrs[i].Value
			}
		}
	}
	return alg, value, kind
}

func algorithmOfAttr(name string) algorithm {
	switch name {
	case "crc32":
		return algCRC32
	case "crc32c":
		return algCRC32C
	case "crc64nvme":
		return algCRC64NVME
	case "sha1":
		return algSHA1
	case "sha256":
		return algSHA256
	}
	return algNone
}

// partChecksum returns a part's checksum of one algorithm, or "".
func partChecksum(attrs []engine.Attr, a algorithm) string {
	for i := range attrs {
		if attrs[i].Name == a.attr() {
			return attrs[i].Value
		}
	}
	return ""
}

// combineParts computes the checksum of an object made of parts, each of which has one of that algorithm: over all
// the bytes, which for a CRC follows from the parts' own, or over the parts' checksums.
func combineParts(a algorithm, kind string, parts []engine.PartInfo) (string, bool) {
	if kind == typeComposite {
		h := a.newHash()
		for i := range parts {
			raw, err := base64.StdEncoding.DecodeString(partChecksum(parts[i].Attrs, a))
			if err != nil || len(raw) != algorithms[a].size {
				return "", false
			}
			h.Write(raw)
		}
		return base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-" + itoa(len(parts)), true
	}
	var sum uint64
	for i := range parts {
		raw, err := base64.StdEncoding.DecodeString(partChecksum(parts[i].Attrs, a))
		if err != nil || len(raw) != algorithms[a].size {
			return "", false
		}
		n := parts[i].Size
		switch a {
		case algCRC32:
			sum = uint64(engine.CombineCRC32(uint32(sum), binary.BigEndian.Uint32(raw), n))
		case algCRC32C:
			sum = uint64(engine.CombineCRC32C(uint32(sum), binary.BigEndian.Uint32(raw), n))
		case algCRC64NVME:
			sum = engine.CombineCRC64NVME(sum, binary.BigEndian.Uint64(raw), n)
		default:
			return "", false
		}
	}
	if a == algCRC64NVME {
		return encodeCRC64(sum), true
	}
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], uint32(sum))
	return base64.StdEncoding.EncodeToString(raw[:]), true
}
