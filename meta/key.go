package meta

import (
	"encoding/binary"
	"strings"
)

// The key space. Integers in keys are big-endian, so that byte order is number order. Every entity's value begins with
// what the journal holds of it (see held); "body" is drawn in entity_codec.go and blob_codec.go.
//
//	! name                             of the index itself: format, position, rebuild under way, newest journal start
//	b blob                             held | blob body
//	c bucket                           its usage, uploads in progress included; absent when all of it is 0
//	g name                             held | str value of a config entry
//	i bucket                           name of the bucket
//	l time bucket key                  empty; a look (time in milliseconds, 8 bytes), see look.go
//	m volume shard                     held | u8 causes | missing body (shard: 1 byte), see missing.go
//	n name                             held | bucket body
//	d bucket key                       held | object body of the current version, which is a delete marker
//	o bucket key                       held | object body of the current version, which is not
//	p upload number                    held | part body (number: 2 bytes)
//	q bucket                           str how far the looks of a bucket are made
//	r blob                             uvarint count of references; absent when it is 1
//	s volume                           varint live bytes | uvarint tombstones | uvarint bytes of these; absent when all are 0
//	u bucket escaped-key time upload   attributes of an upload; time (of initiation, milliseconds, 8 bytes) orders
//	                                   the uploads of a key
//	v bucket escaped-key ~version      held | object body of a version that is not current (the version's complement in
//	                                   8 bytes: the newest first)
//	w upload                           held | upload body
//	x volume offset                    uvarint blob whose bulk extent begins there
//	y bucket key                       uvarint version: the null version of the key, when it is not current
//	z blob                             empty; the blobs with count 0, so that they are found without a walk
//	~ …                                only while a rebuild runs, see rebuild.go
//
// Listings of objects go along o alone, so neither the versions that are not current nor the keys that are deleted cost them
// anything. A key with versions always has one that is current.
//
// An object's key ends its index key, so it stands there as it is and its order is byte order. Where more
// follows, the key is escaped: 00 becomes 00 FF, and 00 01 ends it. That keeps byte order too, as the
// terminator sorts below whatever a longer key goes on with.
const (
	spaceBlob        = 'b'
	spaceUsage       = 'c'
	spaceConfig      = 'g'
	spaceBucketID    = 'i'
	spaceLook        = 'l'
	spaceMissing     = 'm'
	spaceBucketName  = 'n'
	spaceMarker      = 'd'
	spaceObject      = 'o'
	spaceVersion     = 'v'
	spaceNull        = 'y'
	spacePart        = 'p'
	spacePlan        = 'q'
	spaceRefs        = 'r'
	spaceVolume      = 's'
	spaceUploadOrder = 'u'
	spaceUpload      = 'w'
	spaceExtent      = 'x'
	spaceUnreferred  = 'z'
	spaceRebuild     = '~'
)

// Keys of the index itself. They are outside the logical dump, but for the journal start.
const (
	keyFormat   = "!format"
	keyJournal  = "!journal"
	keyPosition = "!position"
	keyRebuild  = "!rebuild"
)

func appendID(dst []byte, space byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, space), id)
}

func appendBlobKey(dst []byte, id BlobID) []byte { return appendID(dst, spaceBlob, uint64(id)) }
func appendRefsKey(dst []byte, id BlobID) []byte { return appendID(dst, spaceRefs, uint64(id)) }
func appendUnreferred(dst []byte, id BlobID) []byte {
	return appendID(dst, spaceUnreferred, uint64(id))
}
func appendUsageKey(dst []byte, id BucketID) []byte  { return appendID(dst, spaceUsage, uint64(id)) }
func appendBucketID(dst []byte, id BucketID) []byte  { return appendID(dst, spaceBucketID, uint64(id)) }
func appendVolumeKey(dst []byte, id VolumeID) []byte { return appendID(dst, spaceVolume, uint64(id)) }

func appendBucketName(dst []byte, name string) []byte {
	return append(append(dst, spaceBucketName), name...)
}
func appendConfigKey(dst []byte, name string) []byte {
	return append(append(dst, spaceConfig), name...)
}

func appendObjectKey(dst []byte, bucket BucketID, key string) []byte {
	return append(appendID(dst, spaceObject, uint64(bucket)), key...)
}

// appendHeadKey appends the key under which the current version of an object lies.
func appendHeadKey(dst []byte, space byte, bucket BucketID, key string) []byte {
	return append(appendID(dst, space, uint64(bucket)), key...)
}

// appendVersionsKey appends what the index keys of all versions of a key begin with that are not current.
func appendVersionsKey(dst []byte, bucket BucketID, key string) []byte {
	return append(appendEscaped(appendID(dst, spaceVersion, uint64(bucket)), key), 0x00, 0x01)
}

func appendVersionKey(dst []byte, bucket BucketID, key string, version VersionID) []byte {
	return binary.BigEndian.AppendUint64(appendVersionsKey(dst, bucket, key), ^uint64(version))
}

func appendExtentKey(dst []byte, volume VolumeID, off int64) []byte {
	return binary.BigEndian.AppendUint64(appendID(dst, spaceExtent, uint64(volume)), uint64(off))
}

func appendUploadKey(dst []byte, id UploadID) []byte {
	return append(append(dst, spaceUpload), id[:]...)
}

func appendPartKey(dst []byte, id UploadID, number int) []byte {
	return binary.BigEndian.AppendUint16(append(append(dst, spacePart), id[:]...), uint16(number))
}

// appendUploadOrder appends the key that orders u among the uploads of its bucket.
func appendUploadOrder(dst []byte, u *Upload) []byte {
	dst = appendEscaped(appendID(dst, spaceUploadOrder, uint64(u.Bucket)), u.Key)
	dst = append(dst, 0x00, 0x01)
	dst = appendInitiated(dst, u.Initiated.UnixMilli())
	return append(dst, u.ID[:]...)
}

// appendInitiated appends milliseconds so that byte order is time order, before 1970 too.
func appendInitiated(dst []byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(ms)^1<<63)
}

const uploadOrderTail = 8 + len(UploadID{}) // Bytes after the terminator.

// appendEscaped appends key so that a terminator may follow it.
func appendEscaped(dst []byte, key string) []byte {
	for {
		i := strings.IndexByte(key, 0x00)
		if i < 0 {
			return append(dst, key...)
		}
		dst = append(dst, key[:i]...)
		dst = append(dst, 0x00, 0xff)
		key = key[i+1:]
	}
}

// cutEscaped appends to dst the key at the start of src as it was before escaping, and returns what follows its terminator.
func cutEscaped(dst, src []byte) (key, rest []byte, ok bool) {
	for i := 0; i < len(src); i++ {
		if src[i] != 0x00 {
			dst = append(dst, src[i])
			continue
		}
		if i++; i == len(src) {
			return nil, nil, false
		}
		switch src[i] {
		case 0x01:
			return dst, src[i+1:], true
		case 0xff:
			dst = append(dst, 0x00)
		default:
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// successor turns prefix, in place, into the least key above every key that begins with it; nil when there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			prefix[i]++
			return prefix[:i+1]
		}
	}
	return nil
}

// held is what the journal holds of an entity. It opens every entity's value:
//
//	uvarint LSN | uvarint volume | uvarint share
//
// The share is the part of the record's bytes that is kept for this entity; while the entity lives they count as
// live in that journal volume. The shares of a record's entities add up to its framed length, so a volume without live
// bytes holds no record that a rebuild would miss.
type held struct {
	lsn    LSN // Origin LSN of the record.
	volume VolumeID
	share  int64
}

func appendHeld(dst []byte, h held) []byte {
	dst = binary.AppendUvarint(dst, uint64(h.lsn))
	dst = binary.AppendUvarint(dst, uint64(h.volume))
	return binary.AppendUvarint(dst, uint64(h.share))
}

func (r *reader) held() held {
	return held{lsn: LSN(r.uvarint()), volume: VolumeID(r.uvarint()), share: r.size()}
}
