package meta

import "fmt"

// Compaction of a journal volume reads its records and writes again, with their origin LSN, those that still matter. What matters of
// one is decided here, beside what applying it does.
//
// A relocated record names only what lives. If the object is gone that a record put, and a blob in it lives on in a copy, the blob is
// carried along by itself: with the object named, a rebuild would bring that back once its tombstone has been dropped. For the same
// reason nothing may remove an entity between the look at it and its relocation, see Subject.

// Subject is the entity that a record puts. While the record is relocated, the entity must be kept from being removed.
type Subject struct {
	Bucket     BucketID
	Key        string // Of an object; with Bucket.
	Upload     UploadID
	BucketName string
	Config     string
}

// SubjectOf returns what a record is about. The zero Subject means that the record may be relocated at any time: it removes something,
// which its origin keeps from harming what is newer; or it puts what is nothing by itself, which a rebuild drops when its upload has gone, or
// whatever referenced it; or it is an entry of the heal ledger: should a rebuild bring back one that was done with, the shard is found whole.
func SubjectOf(payload []byte) (s Subject, err error) {
	k, r, err := openRecord(payload)
	if err != nil {
		return s, err
	}
	switch k {
	case KindPutBucket:
		s.BucketName = r.bucket().Name
	case KindPutObject:
		s.Bucket, s.Key = BucketID(r.uvarint()), r.strMax(MaxKeyLen)
	case KindCreateUpload:
		s.Upload = r.uploadID()
	case KindCompleteUpload:
		r.uploadID()
		s.Bucket, s.Key = BucketID(r.uvarint()), r.strMax(MaxKeyLen)
	case KindConfig:
		s.Config = r.strMax(MaxNameLen)
	}
	if !r.ok() {
		return s, malformed(k)
	}
	return s, nil
}

// Survivors appends to dst what must be written again, with the origin of a, before the volume may go that a lies in: nothing, a's payload
// itself, or payloads that say less. tombstone says whether some older volume may still hold what a removed.
func (x *Index) Survivors(dst [][]byte, a *Applied, tombstone bool) ([][]byte, error) {
	k, r, err := openRecord(a.Payload)
	if err != nil {
		return dst, err
	}
	var key []byte
	switch k {
	case KindPutBlobs, KindPutObject, KindPutPart, KindCompleteUpload, KindRelocate:
		return x.survivingPut(dst, a, tombstone)
	case KindDeleteBucket, KindDeleteObject, KindAbortUpload:
		if tombstone {
			dst = append(dst, a.Payload)
		}
		return dst, nil
	case KindDropBlobs, KindJournalFreed, KindLook:
		return dst, nil // A rebuild drops such blobs anyway, never looks for such volumes, and leaves out looks.
	case KindPutBucket:
		key = appendBucketName(nil, r.bucket().Name)
	case KindCreateUpload:
		key = appendUploadKey(nil, r.uploadID())
	case KindConfig:
		name, value := r.strMax(MaxNameLen), r.str()
		if value == "" {
			if tombstone {
				dst = append(dst, a.Payload)
			}
			return dst, nil
		}
		key = appendConfigKey(nil, name)
	case KindMissing:
		rec := r.missing()
		if r.ok() && rec.Causes == 0 {
			if tombstone {
				dst = append(dst, a.Payload)
			}
			return dst, nil
		}
		key = appendMissingKey(nil, rec.Volume, rec.Shard)
	case KindJournalStart:
		key = []byte(keyJournal)
	default:
		return dst, fmt.Errorf("%w: %v", ErrUnknownRecord, k)
	}
	if !r.ok() {
		return dst, malformed(k)
	}
	if lives, err := x.isHeldBy(key, a); err != nil || !lives {
		return dst, err
	}
	return append(dst, a.Payload), nil
}

// isHeldBy reports whether the record a, where it lies, is the one that holds the entity at key.
func (x *Index) isHeldBy(key []byte, a *Applied) (lives bool, err error) {
	_, err = x.entry(key, func(r *reader) {
		h := r.held()
		lives = h.lsn == a.origin() && h.volume == a.Loc.Volume
	})
	return lives, err
}

func (x *Index) survivingPut(dst [][]byte, a *Applied, tombstone bool) ([][]byte, error) {
	var p put
	if err := p.parse(a.Payload); err != nil {
		return dst, err
	}
	lives, err := x.survives(&p, a)
	if err != nil {
		return dst, err
	}
	brought := len(p.blobs)
	p.blobs, err = x.blobsHeldBy(p.blobs, a)
	if err != nil {
		return dst, err
	}
	whole := lives && len(p.blobs) == brought
	if p.inline.len > 0 {
		here, err := x.isHeldBy(appendBlobKey(nil, p.inline.id), a)
		if err != nil {
			return dst, err
		}
		if !here {
			p.inline, whole = putInline{}, false
		}
	}
	switch {
	case p.kind == KindCompleteUpload:
		if lives {
			rec := p.record(a.Payload).(*CompleteUpload)
			dst = append(dst, (&PutObject{Bucket: rec.Bucket, Object: rec.Object}).AppendTo(nil))
		}
		if tombstone {
			dst = append(dst, (&AbortUpload{Upload: p.upload}).AppendTo(nil))
		}
	case whole:
		dst = append(dst, a.Payload)
	case lives || p.kind == KindRelocate && len(p.blobs) > 0:
		dst = append(dst, p.record(a.Payload).AppendTo(nil))
	case len(p.blobs) > 0 || p.inline.len > 0:
		p.kind = KindPutBlobs
		dst = append(dst, p.record(a.Payload).AppendTo(nil))
	}
	return dst, nil
}

// blobsHeldBy keeps those of the blobs that are still held by a.
func (x *Index) blobsHeldBy(blobs []putBlob, a *Applied) ([]putBlob, error) {
	kept := blobs[:0]
	for _, b := range blobs {
		here, err := x.isHeldBy(appendBlobKey(nil, b.id), a)
		if err != nil {
			return nil, err
		}
		if here {
			kept = append(kept, b)
		}
	}
	return kept, nil
}

// survives reports whether the entity that p puts, beside its blobs, is still held by a.
func (x *Index) survives(p *put, a *Applied) (bool, error) {
	switch p.kind {
	case KindPutObject, KindCompleteUpload:
		for _, key := range [...][]byte{
			appendHeadKey(nil, spaceObject, p.bucket, p.key), appendHeadKey(nil, spaceMarker, p.bucket, p.key),
			appendVersionKey(nil, p.bucket, p.key, p.object.version),
		} {
			if here, err := x.isHeldBy(key, a); err != nil || here {
				return here, err
			}
		}
	case KindPutPart:
		return x.isHeldBy(appendPartKey(nil, p.upload, p.part.number), a)
	}
	return false, nil
}
