package bench

import "fmt"

// A Kind is a kind of request, or of a group of them that belong together, that is counted apart.
type Kind uint8

// The kinds, in the order of reports.
const (
	Put Kind = iota
	Get
	GetRange
	Head
	List
	Delete
	DeleteBatch
	CreateUpload
	UploadPart
	CompleteUpload
	Upload        // A multipart upload, all its requests.
	GetCheckpoint // A Get that began while a checkpoint was being written.
	Checkpoint    // A checkpoint, all its uploads.
	Batch         // What a training step waits for.
	NumKinds      // Not a kind.
)

var kindNames = [NumKinds]string{
	"PUT", "GET", "GET range", "HEAD", "LIST", "DELETE", "DELETE batch", "create upload", "upload part", "complete upload",
	"multipart upload", "GET in checkpoint", "checkpoint", "batch",
}

func (k Kind) String() string { return kindNames[k] }

// MarshalText writes the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a name.
func (k *Kind) UnmarshalText(text []byte) error {
	for i, name := range kindNames {
		if name == string(text) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not a kind of request", text)
}

// composite reports whether what is counted consists of requests that are counted themselves.
func (k Kind) composite() bool { return k == Upload || k == Checkpoint || k == Batch }
