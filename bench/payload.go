package bench

import (
	"fmt"
	"strings"

	"penstock/fastapi/sigv4"
)

// payloadNames are the ways to protect uploads, as users name them.
var payloadNames = [sigv4.NumModes]string{
	sigv4.Unsigned:                 "unsigned",
	sigv4.Signed:                   "signed",
	sigv4.StreamingSigned:          "chunks",
	sigv4.StreamingSignedTrailer:   "chunks-trailer",
	sigv4.StreamingUnsignedTrailer: "trailer",
}

// PayloadNames lists them.
func PayloadNames() []string { return payloadNames[:] }

// ParsePayload returns the mode of a name.
func ParsePayload(name string) (sigv4.Mode, error) {
	for mode, known := range payloadNames {
		if name == known {
			return sigv4.Mode(mode), nil
		}
	}
	return 0, fmt.Errorf("%q is none of %s", name, strings.Join(payloadNames[:], ", "))
}
