package awschunk

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
)

const trailerSignature = "x-amz-trailer-signature"

// maxTrailers bounds the trailers of a request; clients send one.
const maxTrailers = 8

// ErrUnsupportedTrailer says that x-amz-trailer announces what cannot come after a body (S3:
// InvalidRequest).
var ErrUnsupportedTrailer = errors.New("awschunk: the value specified in the x-amz-trailer header is not supported")

// ParseTrailerNames parses the value of x-amz-trailer. Only checksums may be announced, each once: no
// other header is looked for after the body.
func ParseTrailerNames(value string) ([]string, error) {
	var names []string
	for field := range strings.SplitSeq(value, ",") {
		name := strings.ToLower(strings.Trim(field, " \t"))
		if !strings.HasPrefix(name, "x-amz-checksum-") || slices.Contains(names, name) || len(names) == maxTrailers {
			return nil, ErrUnsupportedTrailer
		}
		names = append(names, name)
	}
	return names, nil
}

// readTrailers reads the announced trailers, and the signature over them if there is to be one, but
// not the empty line at the end.
func (r *Reader) readTrailers() error {
	var signed []byte // What the signature covers: "name:value\n" for each, as sent.
	budget := maxTrailerLen
	bare := false // Lines end in "\n".
	for range r.conf.TrailerNames {
		line, err := r.readLine(min(budget, bufLen), ErrMalformedTrailer)
		if err != nil {
			return err
		}
		budget -= len(line)
		line = line[:len(line)-1]
		line, crlf := bytes.CutSuffix(line, []byte{'\r'})
		if len(signed) > 0 && bare == crlf {
			return ErrMalformedTrailer
		}
		bare = !crlf
		trailer, err := r.parseTrailer(line)
		if err != nil {
			return err
		}
		r.trailers = append(r.trailers, trailer)
		signed = append(signed, trailer.Name...)
		signed = append(signed, ':')
		signed = append(signed, trailer.Value...)
		signed = append(signed, '\n')
	}
	if bare {
		if err := r.readLineEnd(ErrMalformedTrailer); err != nil {
			return err
		}
	}
	if r.chain == nil {
		return nil
	}
	return r.checkTrailers(signed)
}

// parseTrailer parses a line without its end. As many lines are read as there are names, and each
// must be one of them that has not come yet, so in the end all have.
func (r *Reader) parseTrailer(line []byte) (Trailer, error) {
	name, value, ok := bytes.Cut(line, []byte{':'})
	t := Trailer{
		Name:  strings.ToLower(string(name)),
		Value: string(bytes.Trim(value, " \t")),
	}
	switch {
	case !ok, !slices.Contains(r.conf.TrailerNames, t.Name):
		return Trailer{}, ErrMalformedTrailer
	case slices.ContainsFunc(r.trailers, func(other Trailer) bool { return other.Name == t.Name }):
		return Trailer{}, ErrMalformedTrailer
	case strings.ContainsFunc(t.Value, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return Trailer{}, ErrMalformedTrailer
	}
	return t, nil
}

func (r *Reader) checkTrailers(signed []byte) error {
	line, err := r.readLine(maxHeaderLen, ErrMalformedTrailer)
	if err != nil {
		return err
	}
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	name, value, _ := bytes.Cut(line, []byte{':'})
	if !ok || !strings.EqualFold(string(name), trailerSignature) {
		return ErrMalformedTrailer
	}
	sum := sha256.Sum256(signed)
	want := r.chain.Trailer(&sum)
	if !hmac.Equal(want[:], bytes.Trim(value, " \t")) {
		return ErrSignature
	}
	return nil
}
