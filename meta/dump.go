package meta

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Dump writes the logical content of the index as lines of text, in key order: two indexes that answer every question alike dump
// alike. The position and the format entry are left out, as they say how far an index is and not what is in it.
func (x *Index) Dump(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, prefix := range []string{keyJournal, "b", "c", "d", "g", "i", "m", "n", "o", "p", "r", "s", "u", "v", "w", "x", "y", "z"} {
		err := x.scan([]byte(prefix), func(key, value []byte) (bool, error) {
			line, err := dumpEntry(key, value)
			if err != nil {
				return false, err
			}
			_, err = fmt.Fprintln(out, line)
			return err == nil, err
		})
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

// Hash returns the SHA-256 of Dump.
func (x *Index) Hash() (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	err = x.Dump(h)
	h.Sum(sum[:0])
	return sum, err
}

// dumpEntry renders one entry, and fails if it does not parse.
func dumpEntry(key, value []byte) (string, error) {
	r := view(value)
	var line string
	switch key[0] {
	case spaceBlob, spaceConfig, spaceMissing, spaceBucketName, spaceMarker, spaceObject, spaceVersion, spacePart, spaceUpload, keyJournal[0]:
		line = dumpEntity(key, &r)
	case spaceUsage:
		u := r.bucketUsage()
		line = fmt.Sprintf("bucket %#x: %+v", be64(key[1:]), u)
	case spaceBucketID:
		line = fmt.Sprintf("bucket %#x is %q", be64(key[1:]), r.raw(len(r.s)))
	case spaceRefs:
		line = fmt.Sprintf("blob %#x: %d references", be64(key[1:]), r.size())
	case spaceVolume:
		line = fmt.Sprintf("volume %#x: %d live bytes, %d tombstones of %d bytes", be64(key[1:]), r.varint(), r.size(), r.size())
	case spaceUploadOrder:
		k, tail, ok := cutEscaped(nil, key[9:])
		if !ok || len(tail) != uploadOrderTail {
			return "", errOrderKey
		}
		initiated := time.UnixMilli(int64(be64(tail) ^ 1<<63)).UTC()
		line = fmt.Sprintf("bucket %#x upload of %q at %v: %x %q", be64(key[1:]), k, initiated, tail[8:], r.attrs())
	case spaceExtent:
		line = fmt.Sprintf("volume %#x offset %d: blob %#x", be64(key[1:]), be64(key[9:]), r.uvarint())
	case spaceNull:
		line = fmt.Sprintf("bucket %#x null version of %q: %#x", be64(key[1:]), key[9:], r.uvarint())
	case spaceUnreferred:
		line = fmt.Sprintf("blob %#x: unreferenced", be64(key[1:]))
	}
	if !r.done() || line == "" {
		return "", corruptEntry(key)
	}
	return line, nil
}

func be64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

func dumpEntity(key []byte, r *reader) string {
	h := r.held()
	var what any
	switch key[0] {
	case spaceBlob:
		b := Blob{ID: BlobID(be64(key[1:])), LSN: h.lsn}
		r.blob(&b)
		what = b
	case spaceConfig:
		what = Config{Name: string(key[1:]), Value: r.str()}
	case spaceMissing:
		what = r.missingEntry(key)
	case spaceBucketName:
		what = r.bucket()
	case spaceObject, spaceMarker:
		o := Object{Key: string(key[9:]), LSN: h.lsn}
		r.object(&o)
		what = fmt.Sprintf("bucket %#x object %+v", be64(key[1:]), o)
	case spaceVersion:
		k, version, ok := cutVersionKey(nil, key)
		o := Object{Key: string(k), LSN: h.lsn}
		r.object(&o)
		if !ok || version != o.Version {
			r.fail()
		}
		what = fmt.Sprintf("bucket %#x former %+v", be64(key[1:]), o)
	case spacePart:
		var p UploadPart
		r.uploadPart(&p)
		what = fmt.Sprintf("upload %x part %+v", key[1:17], p)
	case spaceUpload:
		what = r.upload()
	default:
		what = JournalStart{r.journalVolumes()}
	}
	return fmt.Sprintf("%+v by LSN %d, %d bytes of volume %#x", what, h.lsn, h.share, uint64(h.volume))
}
