package drive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"penstock/erasure"
)

// Names in a drive's directory.
const (
	identityName   = "drive.json"
	lockName       = "penstock.lock"
	segmentsDir    = "segments"
	indexDir       = "index"
	checkpointDir  = "checkpoint"
	rootName       = "root.json"
	keyringName    = "keyring.json"
	lostAndFound   = "lost+found" // The file system's own.
	tmpSuffix      = ".tmp"       // A small file on its way to be replaced.
	identityFormat = 1
)

// Start is one start of a drive's cell.
type Start struct {
	Epoch uint32 `json:"epoch"`
	Run   ID     `json:"run"` // Random, so that two starts that each took the same epoch can be told apart.
}

// MaxStarts bounds the history of starts: a drive that was away for longer is taken to be merely old.
const MaxStarts = 64

// maxPending bounds the interrupted starts in a row that are remembered.
const maxPending = 16

// Identity is drive.json: what a drive knows of itself. On the drive it is indented JSON whose last
// field is the CRC64NVME, in hexadecimal, of the same text with sixteen hyphens in that field.
//
//	{
//	  "format": 1,              version of everything on the drive; a later one is refused
//	  "cluster": "…",           UUID of the store
//	  "drive": "…",             UUID of this drive
//	  "cell": 0,                which cell of the node it serves
//	  "created": "…",           time of the format, UTC
//	  "mount": true,            whether the directory was a mount point at format: then it must be one ever after
//	  "filesystem": "ext4",     at format, for the reader
//	  "known": ["…"],           all drives of the cell, this one among them
//	  "revision": 1,            of the drives of the cell; this field and the next four are absent where they say nothing
//	  "removed": ["…"],         drives that were taken out of the cell: they are refused for ever
//	  "draining": ["…"],        drives that take nothing new, and are being emptied
//	  "leaving": ["…"],         those of them that are removed once they are empty
//	  "paths": {"…": "/…"},     where each drive was last, by its id
//	  "starts": [{…}],          the last starts of the cell, oldest first, up to the last confirmed one that this drive took part in
//	  "base": [{…}],            the confirmed starts that the pending ones go on from; absent when they are those in "starts"
//	  "pending": [{…}],         starts that are not confirmed yet, the one under way at the end; absent when there is none
//	  "crc64nvme": "…"
//	}
type Identity struct {
	Format     int       `json:"format"`
	Cluster    ID        `json:"cluster"`
	Drive      ID        `json:"drive"`
	Cell       uint16    `json:"cell"`
	Created    time.Time `json:"created"`
	Mount      bool      `json:"mount"`
	FileSystem string    `json:"filesystem"`
	Roster
	Starts  []Start `json:"starts"`
	Base    []Start `json:"base,omitempty"`
	Pending []Start `json:"pending,omitempty"`
	Sum     string  `json:"crc64nvme"`
}

// Roster says which drives make up a cell. Every drive has it. Of two that differ the one of the higher revision holds; a drive that did not
// get it was away.
type Roster struct {
	Known    []ID          `json:"known"`
	Revision uint64        `json:"revision,omitempty"` // The epoch in its upper half, a sequence in the lower.
	Removed  []ID          `json:"removed,omitempty"`
	Draining []ID          `json:"draining,omitempty"`
	Leaving  []ID          `json:"leaving,omitempty"`
	Paths    map[ID]string `json:"paths,omitempty"`
}

// Clone returns a copy that shares nothing.
func (r Roster) Clone() Roster {
	r.Known, r.Removed = slices.Clone(r.Known), slices.Clone(r.Removed)
	r.Draining, r.Leaving, r.Paths = slices.Clone(r.Draining), slices.Clone(r.Leaving), maps.Clone(r.Paths)
	return r
}

// Merge returns the roster that holds when drives have r and o.
func (r Roster) Merge(o Roster) Roster {
	switch {
	case o.Revision > r.Revision:
		return o.Clone()
	case o.Revision < r.Revision:
		return r
	}
	// The same, but for paths and for drives whose format was interrupted.
	r = r.Clone()
	for _, id := range o.Known {
		if !slices.Contains(r.Known, id) {
			r.Known = append(r.Known, id)
		}
	}
	slices.SortFunc(r.Known, func(a, b ID) int { return slices.Compare(a[:], b[:]) })
	for id, path := range o.Paths {
		r.At(id, path)
	}
	return r
}

// At notes where a drive is.
func (r *Roster) At(id ID, path string) {
	if r.Paths == nil {
		r.Paths = make(map[ID]string)
	}
	r.Paths[id] = path
}

// Epoch returns the epoch of the last start, confirmed or not, or 0 before the first.
func (id *Identity) Epoch() uint32 {
	epoch := uint32(0)
	for _, list := range [][]Start{id.Starts, id.Pending} {
		if len(list) > 0 {
			epoch = max(epoch, list[len(list)-1].Epoch)
		}
	}
	return epoch
}

// Begin makes a start pending that goes on from a history: starts that are confirmed, and others that are not.
func (id *Identity) Begin(confirmed, unconfirmed []Start, s Start) {
	id.Base = nil
	if !slices.Equal(confirmed, id.Starts) {
		id.Base = slices.Clone(confirmed)
	}
	id.Pending = latest(append(slices.Clone(unconfirmed), s), maxPending)
}

// Confirm makes the pending start one in which something may be acknowledged.
func (id *Identity) Confirm() {
	id.Starts, id.Base, id.Pending = latest(slices.Concat(id.Confirmed(), id.Pending), MaxStarts), nil, nil
}

// Confirmed returns the confirmed starts that the pending ones go on from.
func (id *Identity) Confirmed() []Start {
	if id.Base != nil {
		return id.Base
	}
	return id.Starts
}

func latest(starts []Start, n int) []Start { return starts[max(len(starts)-n, 0):] }

// noSum stands for the checksum in the text that is summed. It is as long as any.
const noSum = "----------------"

// AppendTo appends the text of drive.json.
func (id Identity) AppendTo(dst []byte) []byte {
	id.Format, id.Sum = identityFormat, noSum
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		panic("drive: identity does not marshal: " + err.Error())
	}
	b = append(b, '\n')
	at := bytes.LastIndex(b, []byte(noSum))
	copy(b[at:], fmt.Sprintf("%016x", erasure.Checksum(b)))
	return append(dst, b...)
}

var (
	errNewerFormat = errors.New("newer format")
	errDamaged     = errors.New("damaged")
)

// ParseIdentity parses drive.json. The text must be, to the byte, what AppendTo writes.
func ParseIdentity(b []byte) (Identity, error) {
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if version.Format > identityFormat {
		return Identity{}, fmt.Errorf("%w: %d, this program knows %d", errNewerFormat, version.Format, identityFormat)
	}
	var id Identity
	if err := json.Unmarshal(b, &id); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if !bytes.Equal(id.AppendTo(nil), b) {
		return Identity{}, fmt.Errorf("%w: checksum mismatch", errDamaged)
	}
	if id.Drive.IsZero() || id.Cluster.IsZero() {
		return Identity{}, fmt.Errorf("%w: no id", errDamaged)
	}
	return id, nil
}

// ReadIdentity reads a drive's identity.
func ReadIdentity(d Drive) (Identity, error) {
	b, err := d.ReadMeta(identityName)
	if err != nil {
		return Identity{}, err
	}
	id, err := ParseIdentity(b)
	if err != nil {
		return Identity{}, identityRefused(d.Path(), err)
	}
	return id, nil
}

// WriteIdentity replaces a drive's identity durably.
func WriteIdentity(d Drive, id Identity) error {
	return d.WriteMeta(identityName, id.AppendTo(nil), 0o600)
}

// identityRefused turns an error of reading or parsing drive.json into a refusal.
func identityRefused(path string, err error) error {
	switch {
	case errors.Is(err, errNewerFormat):
		return refuse(path, NewerFormat, "was written by a newer version", "use that version or a later one", err)
	case errors.Is(err, errDamaged):
		return refuse(path, Damaged, "has a damaged "+identityName,
			"restore the file, or take the drive out and let an empty one replace it", err)
	case errors.Is(err, fs.ErrNotExist):
		return refuse(path, Blank, "has never been formatted", "", nil)
	}
	return refuse(path, Unusable, "cannot be read", "", err)
}
