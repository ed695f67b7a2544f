// Package corpus holds what real clients are made to store: keys that servers are known to get wrong, and bytes that
// are easy to make again for comparison.
package corpus

import (
	"math/rand/v2"
	"strings"
)

// Keys are legal keys, each of which some server has normalised, decoded twice, hidden or confused with another.
var Keys = []string{
	"plain.txt",
	"a",
	"a/",  // A directory marker …
	"a/b", // … beside an object below it.
	"a//b",
	"/leading",
	"//leading/twice",
	"trailing//",
	".",
	"..",
	"./here",
	"../up",
	"a/./b",
	"a/../b",
	"...",
	"per%2Fcent", // Not the same key as per/cent.
	"per/cent",
	"per%252Fcent",
	"%",
	"100%",
	"plus+sign", // Not the same key as "plus sign".
	"plus sign",
	" leading space",
	"trailing space ",
	"query?acl&versionId=1",
	"fragment#1",
	"semi;colon:comma,equals=at@dollar$",
	"amp&lt<gt>quot\"apos'",
	"back\\slash",
	"brackets[1]{2}(3)*!~^`|",
	"emoji-😀/🗜️",
	"caf\u00e9",  // Composed …
	"cafe\u0301", // … and decomposed: two keys.
	"日本語/ключ",
	"\U0010FFFD", // Sorts after every three-byte character, unlike in UTF-16.
	"\uFFFD",
	strings.Repeat("k", 1024),
	strings.Repeat("d/", 511) + "xy",
	strings.Repeat("😀", 256), // 1,024 bytes as well.
}

// Sizes of bodies that lie on both sides of every border a store has.
var Sizes = []int{0, 1, 4 << 10, 64<<10 - 1, 128 << 10, 128<<10 + 1, 1 << 20, 1<<20 + 4097}

// LargeLen is the length of the large body, which clients send in parts.
const LargeLen = 64 << 20

// Body returns n bytes, the same for the same seed and different for another.
func Body(seed uint64, n int) []byte {
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), byte(seed >> 32)})
	body := make([]byte, n)
	source.Read(body) // Never fails.
	return body
}
