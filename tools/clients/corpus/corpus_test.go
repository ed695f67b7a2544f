package corpus_test

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"penstock/tools/clients/corpus"
)

func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	longest := 0
	for _, key := range corpus.Keys {
		if key == "" || len(key) > 1024 || !utf8.ValidString(key) || seen[key] {
			t.Errorf("key %q is empty, too long, not UTF-8 or there twice", key)
		}
		seen[key] = true
		longest = max(longest, len(key))
	}
	if longest != 1024 {
		t.Errorf("the longest key has %d bytes; want the limit, 1,024", longest)
	}
}

func TestBody(t *testing.T) {
	a, b := corpus.Body(1, 100), corpus.Body(1, 200)
	if !bytes.Equal(a, b[:100]) || bytes.Equal(a, corpus.Body(2, 100)) || bytes.Equal(b[:100], b[100:]) {
		t.Error("bodies are not a function of the seed alone, or repeat")
	}
}
