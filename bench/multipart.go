package bench

import (
	"fmt"
	"strconv"
	"time"

	"penstock/bench/client"
)

// maxParts is S3's limit.
const maxParts = 10_000

func checkMultipart(o *Options) error {
	length, ok := o.Sizes.fixed()
	if !ok {
		return fmt.Errorf("objects uploaded in parts are of one size")
	}
	return checkParts(length, o.Multipart.PartLen)
}

func checkParts(length, partLen int64) error {
	switch {
	case partLen < 1:
		return fmt.Errorf("parts of %d bytes", partLen)
	case length < 1 || length%partLen != 0:
		return fmt.Errorf("%s is not a number of parts of %s", FormatBytes(length), FormatBytes(partLen))
	case length/partLen > maxParts:
		return fmt.Errorf("%d parts; S3 takes %d", length/partLen, maxParts)
	}
	return nil
}

func stepMultipart(w *worker, n uint64) {
	length, _ := w.run.opts.Sizes.fixed()
	w.upload(w.run.uploaded(n), int(length/w.run.opts.Multipart.PartLen))
}

// upload uploads the n-th object in parts, one after the other.
func (w *worker) upload(n uint64, parts int) error {
	live := w.run.rec.live.Load()
	begun := time.Now()
	if !w.due.IsZero() {
		begun = w.due
	}
	err := w.tryUpload(n, parts)
	if live {
		w.count(Upload, begun, time.Time{}, int64(parts)*w.run.opts.Multipart.PartLen, err)
	}
	return err
}

func (w *worker) tryUpload(n uint64, parts int) error {
	all := w.run.uploads
	all.wrote(n)
	r := w.object("POST", all, n)
	r.Query, r.Keep = []byte("uploads="), true
	if err := w.do(CreateUpload, 0); err != nil {
		return err
	}
	id := appendEncoded(nil, client.Element(w.resp.Body, "UploadId"))
	if len(id) == 0 {
		return &client.WrongAnswerError{What: "an upload without an id"}
	}
	for part := 1; part <= parts; part++ {
		if err := w.uploadPart(n, part, id); err != nil {
			w.abort(n, id)
			return err
		}
	}
	if err := w.complete(n, parts, id); err != nil {
		w.abort(n, id)
		return err
	}
	return nil
}

func (w *worker) uploadPart(n uint64, part int, id []byte) error {
	all := w.run.uploads
	r := w.object("PUT", all, n)
	w.query = strconv.AppendInt(append(w.query[:0], "partNumber="...), int64(part), 10)
	w.query = append(append(w.query, "&uploadId="...), id...)
	r.Query = w.query
	r.Body = all.body(n + uint64(part))
	r.Payload = w.run.opts.Payload
	if err := w.do(UploadPart, r.Body.Len()); err != nil {
		return err
	}
	for len(w.etags) < part {
		w.etags = append(w.etags, nil)
	}
	w.etags[part-1] = append(w.etags[part-1][:0], w.resp.ETag...)
	return nil
}

func (w *worker) complete(n uint64, parts int, id []byte) error {
	b := append(w.text[:0], "<CompleteMultipartUpload>"...)
	for part := 1; part <= parts; part++ {
		b = append(b, "<Part><PartNumber>"...)
		b = strconv.AppendInt(b, int64(part), 10)
		b = append(b, "</PartNumber><ETag>"...)
		b = append(b, w.etags[part-1]...)
		b = append(b, "</ETag></Part>"...)
	}
	w.text = append(b, "</CompleteMultipartUpload>"...)
	r := w.object("POST", w.run.uploads, n)
	w.query = append(append(w.query[:0], "uploadId="...), id...)
	r.Query = w.query
	if err := w.document(r, w.text); err != nil {
		return err
	}
	return w.do(CompleteUpload, 0)
}

// abort removes what a failed upload has left. That may fail for the same reason, which was reported already.
func (w *worker) abort(n uint64, id []byte) {
	r := w.object("DELETE", w.run.uploads, n)
	w.query = append(append(w.query[:0], "uploadId="...), id...)
	r.Query = w.query
	w.conn.Do(w.run.ctx, r, &w.resp)
}

func partDetails(o *Options) string { return "parts of " + FormatBytes(o.Multipart.PartLen) }
