// Package miniogo runs minio-go v7 against the real binary: over HTTP it signs every chunk of a body and sends its
// checksum in a signed trailer, over TLS it does without.
package miniogo
