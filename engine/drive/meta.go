package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// checkMetaName refuses names that are not plain file names of our kind.
func checkMetaName(name string) error {
	ok := name != "" && len(name) <= 64 && name[0] != '.' && !strings.HasSuffix(name, tmpSuffix)
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_')
	}
	switch name {
	case segmentsDir, indexDir, checkpointDir, lostAndFound, lockName:
		ok = false
	}
	if !ok {
		return fmt.Errorf("%q does not name a small file of a drive", name)
	}
	return nil
}

// isNotExist also sees through the errors of vfs, which wrap in their own way.
func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) || os.IsNotExist(err) }
