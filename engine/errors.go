package engine

import (
	"errors"
	"fmt"
)

// Kind classifies a failure in the store's own terms. The protocol decides what a client is told.
type Kind uint8

// The kinds of failure.
const (
	KindInternal         Kind = iota // Unclassified; always a bug or a broken machine.
	KindUnavailable                  // Too few drives answer; nothing is denied, nothing is decided.
	KindUnknownOutcome               // The write may or may not have happened; a later read tells.
	KindBusy                         // A bound (memory, queue) is reached; try again soon.
	KindFull                         // No room for new bytes; reads and deletes go on.
	KindQuota                        // The bucket holds as much as it may; reads, deletes and what adds nothing go on.
	KindCorrupt                      // Bytes that no combination of shards could verify.
	KindNoSuchBucket                 // The bucket does not exist.
	KindBucketExists                 // A bucket of that name exists already.
	KindBucketNotEmpty               // The bucket still holds objects or uploads.
	KindNoSuchObject                 // The index proves that the key is absent.
	KindNoSuchVersion                // The index proves that the version is absent.
	KindDeleteMarker                 // The version is a delete marker; Marker describes it.
	KindLocked                       // The version must not be removed, or its lock not be shortened, yet.
	KindNoLock                       // The bucket has no lock, so its objects can have none.
	KindNoSuchUpload                 // No such upload, or it was completed or aborted.
	KindInvalidPart                  // A part named in a completion is absent or its ETag differs.
	KindInvalidPartOrder             // Parts named in a completion do not ascend.
	KindPartTooSmall                 // A part other than the last is below the minimum.
	KindTooLarge                     // The body or the result exceeds what the store takes.
	KindIncompleteBody               // The body ended early or was longer than announced.
	KindBody                         // The caller's body reader or verification failed; Err is the caller's own error.
	KindPrecondition                 // The caller's check refused; Err is the caller's own error.
	KindConflict                     // A concurrent conditional write won.
	KindInvalidRange                 // A range outside the object.
	KindCanceled                     // The caller's context ended first; nothing was committed.
	KindNoSuchDrive                  // No drive of the store has that id or path.
	KindDrive                        // A drive cannot be used, or be changed in that way; Err says why.
	NumKinds                         // Not a kind; lets tests walk them all.
)

var kindNames = [NumKinds]string{
	"internal", "unavailable", "unknown outcome", "busy", "full", "quota", "corrupt", "no such bucket", "bucket exists",
	"bucket not empty", "no such object", "no such version", "delete marker", "locked", "no lock", "no such upload", "invalid part", "invalid part order", "part too small",
	"too large", "incomplete body", "body", "precondition", "conflict", "invalid range", "canceled", "no such drive", "drive refused",
}

func (k Kind) String() string {
	if k < NumKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is the one error type that leaves this package.
type Error struct {
	Op          string // Method that failed, such as "Put".
	Bucket, Key string // Object concerned; Key is empty for bucket operations.
	Kind        Kind
	Version     VersionID   // Asked for, of a KindNoSuchVersion or KindDeleteMarker.
	Marker      *ObjectInfo // Of a KindDeleteMarker.
	Err         error       // Cause, kept for the log. It is never shown to a client.
}

func (e *Error) Error() string {
	s := e.Op
	if e.Bucket != "" {
		s += " " + e.Bucket
		if e.Key != "" {
			s += "/" + e.Key
		}
	}
	s += ": " + e.Kind.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err; an error that is not an Error is KindInternal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}
