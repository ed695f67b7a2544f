package drive

import "fmt"

// Reason says why a directory is refused as a drive.
type Reason uint8

// The reasons.
const (
	Missing      Reason = iota // Nothing is there.
	NotDirectory               // Something else is there.
	Unusable                   // The system refuses to let us read or write there.
	Foreign                    // It holds files that are not ours.
	Damaged                    // It is ours, but what says so cannot be trusted.
	NewerFormat                // A later version wrote it.
	OtherCluster               // It belongs to another store.
	Duplicate                  // It is given twice, or is a copy of another.
	NotMounted                 // The drive's own file system is not mounted there.
	Locked                     // Another process, or another part of this one, serves it.
	Blank                      // It has never been formatted.
	Formatted                  // It holds a drive and would be overwritten.
	Removed                    // It was taken out of its store.
	NumReasons                 // Not a reason; lets tests walk them all.
)

var reasonNames = [NumReasons]string{
	"missing", "not a directory", "unusable", "foreign files", "damaged", "newer format", "another cluster",
	"duplicate", "not mounted", "locked", "blank", "formatted", "removed",
}

func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// RefusedError says in one line which directory is refused as a drive, why, and what would be right.
type RefusedError struct {
	Path   string
	Reason Reason
	What   string // What was found.
	Right  string // What would be right.
	Err    error  // Cause, if the system gave one.
}

func (e *RefusedError) Error() string {
	s := "drive " + e.Path + " " + e.What
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	if e.Right != "" {
		s += "; " + e.Right
	}
	return s
}

func (e *RefusedError) Unwrap() error { return e.Err }

func refuse(path string, reason Reason, what, right string, err error) error {
	return &RefusedError{Path: path, Reason: reason, What: what, Right: right, Err: err}
}
