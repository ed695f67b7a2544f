package fastapi

import (
	"errors"

	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

// decodeChunks puts the aws-chunked decoder between the wire and the engine.
func (b *body) decodeChunks(mode sigv4.Mode) error {
	var names []string
	if announced := b.r.head.get("x-amz-trailer"); announced != "" {
		var err error
		if names, err = awschunk.ParseTrailerNames(announced); err != nil {
			return errInvalidRequest.message("The value specified in the x-amz-trailer header is not supported").because(err)
		}
	}
	if len(names) > 0 && !mode.HasTrailer() {
		return errInvalidRequest.message("x-amz-trailer needs a payload that has trailers.")
	}
	b.chunks = awschunk.NewReader(&b.wire, awschunk.Config{Mode: mode, Auth: b.r.auth, DecodedLength: b.size, TrailerNames: names})
	b.src = chunkReader{b.chunks}
	return nil
}

// chunkReader gives the decoder's errors their S3 names.
type chunkReader struct{ *awschunk.Reader }

func (c chunkReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err != nil {
		err = chunkError(err)
	}
	return n, err
}

func chunkError(err error) error {
	switch {
	case errors.Is(err, awschunk.ErrIncompleteBody):
		return errIncompleteBody.because(err)
	case errors.Is(err, awschunk.ErrMalformedChunk):
		return errInvalidRequest.message("The body is not well-formed aws-chunked data.").because(err)
	case errors.Is(err, awschunk.ErrChunkTooLong):
		return errInvalidChunkSize.because(err)
	case errors.Is(err, awschunk.ErrSignature):
		return errSignatureMismatch.because(err)
	case errors.Is(err, awschunk.ErrMalformedTrailer):
		return errMalformedTrailer.because(err)
	}
	return err
}

// readTrailer takes the checksum out of the trailers, which have been read and are the announced ones.
func (b *body) readTrailer() error {
	if !b.want.trailer {
		return nil
	}
	for _, t := range b.chunks.Trailers() {
		if t.Name != b.want.alg.header() {
			continue
		}
		if !b.want.alg.valid(t.Value) {
			return errInvalidRequest.message("Value for " + t.Name + " trailing header is invalid.")
		}
		b.want.value = t.Value
		return nil
	}
	return errMalformedTrailer
}
