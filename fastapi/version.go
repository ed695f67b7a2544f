package fastapi

import (
	"encoding/base32"
	"encoding/binary"
	"hash/crc32"

	"penstock/engine"
)

// A version's ID as clients see it: these bytes in base32, or "null".
//
//	0                                   8             12
//	| number of the version, scrambled  | CRC-32C      |
//
// A client is not to read anything into it, so consecutive numbers look nothing alike. The checksum tells an ID that was never given
// out from one whose version is gone.
const nullID = "null"

const (
	versionIDLen = 12
	// Multiplying by an odd number is a permutation of 64 bits; the other is its inverse.
	scramble   = 0x9e3779b97f4a7c15
	unscramble = 0xf1de83e19937733d
)

var versionText = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

func formatVersion(v engine.VersionID) string {
	if v == engine.NullVersion {
		return nullID
	}
	var raw [versionIDLen]byte
	binary.BigEndian.PutUint64(raw[:], uint64(v)*scramble)
	binary.BigEndian.PutUint32(raw[8:], crc32.Checksum(raw[:8], castagnoli))
	return versionText.EncodeToString(raw[:])
}

func parseVersion(id string) (v engine.VersionID, ok bool) {
	if id == nullID {
		return engine.NullVersion, true
	}
	raw, err := versionText.DecodeString(id)
	if err != nil || len(raw) != versionIDLen || binary.BigEndian.Uint32(raw[8:]) != crc32.Checksum(raw[:8], castagnoli) {
		return 0, false
	}
	v = engine.VersionID(binary.BigEndian.Uint64(raw) * unscramble)
	// Decoding passes over bits beyond the last byte, and null versions have but one name.
	return v, !v.IsNull() && v != engine.CurrentVersion && formatVersion(v) == id
}

// readVersion reads a version ID that a client gives as the argument of that name; without one it means the current version.
func readVersion(id string, given bool, argument string) (engine.VersionID, error) {
	switch {
	case !given:
		return engine.CurrentVersion, nil
	case id == "":
		return 0, invalidArgument("Version id cannot be the empty string", argument, "")
	}
	v, ok := parseVersion(id)
	if !ok {
		return 0, invalidArgument("Invalid version id specified", argument, id)
	}
	return v, nil
}

// version reads the version that the request is about.
func (r *request) version() (engine.VersionID, error) {
	id, given := r.target.get("versionId")
	return readVersion(id, given, "versionId")
}

// setVersion names the version that an answer is about, where versions mean anything.
func (r *request) setVersion(info *engine.ObjectInfo) {
	if info.Versioned {
		r.setHeader("x-amz-version-id", formatVersion(info.Version))
	}
}

// made are the headers for a version that a request has made: its ID, which as with Amazon is left out for null versions, and when it expires.
func (s *Server) made(bucket string, info *engine.ObjectInfo) (headers []detail) {
	if info.Version != engine.NullVersion {
		headers = append(headers, detail{"x-amz-version-id", formatVersion(info.Version)})
	}
	if value := s.expiry(bucket, info); value != "" {
		headers = append(headers, detail{headerExpiration, value})
	}
	return headers
}

// headerMarker tells a client that what it asked for, or what its deletion made or removed, is a delete marker.
const headerMarker = "x-amz-delete-marker"

// markerError is what a request is told that meets a delete marker. As Amazon has it, the current version of a key being one means that
// there is no such object; asked for by its ID it is there, but is not for reading.
func markerError(e *engine.Error) *apiError {
	a := errNoSuchKey.with("Key", e.Key)
	if e.Marker == nil {
		return a
	}
	if e.Version != engine.CurrentVersion {
		a = errMethodNotAllowed.with("ResourceType", "DeleteMarker")
		a = a.header("Allow", "DELETE").header("Last-Modified", e.Marker.Modified.UTC().Format(httpDate))
	}
	return a.header(headerMarker, "true").header("x-amz-version-id", formatVersion(e.Marker.Version))
}
