package drive

import (
	"fmt"

	"github.com/google/uuid"
)

// ID identifies a drive, or a cluster, for ever. It is a random UUID.
type ID [16]byte

// NewID returns a new random ID.
func NewID() ID { return ID(uuid.New()) }

// ParseID parses the form that String returns, and only that form.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s {
		return ID{}, fmt.Errorf("%q is not a UUID such as 7d444840-9dc0-11d1-b245-5ffdce74fad2", s)
	}
	return ID(u), nil
}

func (id ID) String() string { return uuid.UUID(id).String() }

// IsZero reports whether id is no id at all.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText makes IDs readable in JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}
