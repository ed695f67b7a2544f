// Package fakes3 is an S3 server in memory for tests of load generators. It knows few requests and checks them to the
// last byte: signatures, chunk signatures and checksums are verified with the code of the real server.
package fakes3

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"penstock/erasure"
	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

// Server is the server, an http.Handler. It needs nothing but the one user.
type Server struct {
	AccessKey, Secret string // Of the one user; requests without credentials are refused.

	// Before, if set, sees each request first; when it returns true it has answered it.
	Before func(http.ResponseWriter, *http.Request) bool
	// Spoil, if set, may change the bytes of an object that a GET is about to return.
	Spoil func(key string, body []byte) []byte

	once     sync.Once
	verifier *sigv4.Verifier

	mu      sync.Mutex // Guards the fields below.
	buckets map[string]map[string][]byte
	uploads map[string]map[int][]byte
	started int                // Uploads, ever.
	modes   map[sigv4.Mode]int // Of accepted uploads.
	counts  map[string]int     // Of requests, by method.
}

// Object returns the bytes of an object.
func (s *Server) Object(bucket, key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.buckets[bucket][key]
	return b, ok
}

// Put stores an object without a request.
func (s *Server) Put(bucket, key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[bucket][key] = body
}

// Remove removes an object without a request.
func (s *Server) Remove(bucket, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.buckets[bucket], key)
}

// OpenUploads counts the multipart uploads in progress.
func (s *Server) OpenUploads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

// Keys returns the keys of a bucket, sorted; ok is false when there is no bucket.
func (s *Server) Keys(bucket string) (keys []string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, ok := s.buckets[bucket]
	return sorted(objects), ok
}

// Uploads counts the accepted uploads of a mode.
func (s *Server) Uploads(mode sigv4.Mode) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.modes[mode]
}

// Requests counts the requests of a method.
func (s *Server) Requests(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[method]
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// A refusal is an S3 error.
type refusal struct {
	status  int
	code    string
	message string
}

func (r refusal) Error() string { return r.code + ": " + r.message }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.once.Do(s.init)
	s.mu.Lock()
	s.counts[r.Method]++
	s.mu.Unlock()
	if s.Before != nil && s.Before(w, r) {
		return
	}
	body, err := s.read(r)
	if err == nil {
		err = s.answer(w, r, body)
	}
	if err == nil {
		return
	}
	no, ok := err.(refusal)
	if !ok {
		no = refusal{http.StatusForbidden, "AccessDenied", err.Error()}
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(no.status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", no.code, no.message)
}

func (s *Server) init() {
	var err error
	if s.verifier, err = sigv4.New(sigv4.Options{Secrets: sigv4.Pair{AccessKey: s.AccessKey, Secret: s.Secret}, Clock: time.Now, Region: "us-east-1"}); err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets, s.uploads = make(map[string]map[string][]byte), make(map[string]map[int][]byte)
	s.modes, s.counts = make(map[sigv4.Mode]int), make(map[string]int)
}

// read verifies a request and returns its decoded body.
func (s *Server) read(r *http.Request) ([]byte, error) {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	q := &sigv4.Request{Method: []byte(r.Method), RawPath: []byte(path), RawQuery: []byte(query), Host: []byte(r.Host)}
	for name, values := range r.Header {
		for _, value := range values {
			q.Headers = append(q.Headers, sigv4.Header{Name: []byte(name), Value: []byte(value)})
		}
	}
	_, auth, err := s.verifier.Verify(q)
	if err != nil {
		return nil, err
	}
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if r.ContentLength != int64(len(sent)) {
		return nil, fmt.Errorf("%d bytes came, %d were announced", len(sent), r.ContentLength)
	}
	body, err := decode(sent, r, auth)
	if err != nil {
		return nil, err
	}
	if want := r.Header.Get("Content-Md5"); want != "" {
		if sum := md5.Sum(body); base64.StdEncoding.EncodeToString(sum[:]) != want {
			return nil, refusal{400, "BadDigest", "Content-MD5"}
		}
	}
	if r.Method == "PUT" {
		s.mu.Lock()
		s.modes[auth.Payload.Mode]++
		s.mu.Unlock()
	}
	return body, nil
}

func decode(sent []byte, r *http.Request, auth *sigv4.Auth) ([]byte, error) {
	mode := auth.Payload.Mode
	if mode == sigv4.Signed {
		return io.ReadAll(sigv4.NewVerifyReader(bytes.NewReader(sent), auth.Payload))
	}
	if !mode.Streaming() {
		return sent, nil
	}
	length, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil {
		return nil, err
	}
	conf := awschunk.Config{Mode: mode, Auth: auth, DecodedLength: length}
	if mode.HasTrailer() {
		if conf.TrailerNames, err = awschunk.ParseTrailerNames(r.Header.Get("X-Amz-Trailer")); err != nil {
			return nil, err
		}
	}
	reader := awschunk.NewReader(bytes.NewReader(sent), conf)
	body, err := io.ReadAll(reader)
	if err != nil {
		return nil, err
	}
	for _, trailer := range reader.Trailers() {
		if want := checksum(trailer.Name, body); trailer.Value != want {
			return nil, refusal{400, "BadDigest", trailer.Name + " is " + trailer.Value + ", should be " + want}
		}
	}
	return body, nil
}

func checksum(trailer string, body []byte) string {
	var sum []byte
	switch strings.TrimPrefix(trailer, "x-amz-checksum-") {
	case "crc32":
		sum = binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body))
	case "crc32c":
		sum = binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	case "crc64nvme":
		sum = binary.BigEndian.AppendUint64(nil, erasure.Checksum(body))
	case "sha1":
		h := sha1.Sum(body)
		sum = h[:]
	case "sha256":
		h := sha256.Sum256(body)
		sum = h[:]
	}
	return base64.StdEncoding.EncodeToString(sum)
}

// answer does what a verified request asks for.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	if key == "" {
		return s.answerBucket(w, r, bucket, query, body)
	}
	objects, ok := s.buckets[bucket]
	if !ok {
		return refusal{404, "NoSuchBucket", bucket}
	}
	switch {
	case r.Method == "POST" || query.Has("uploadId"):
		return s.answerUpload(w, r, objects, key, query, body)
	case r.Method == "PUT":
		objects[key] = body
		w.Header().Set("Etag", etag(body))
	case r.Method == "DELETE":
		delete(objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		object, ok := objects[key]
		if !ok {
			return refusal{404, "NoSuchKey", key}
		}
		if s.Spoil != nil && r.Method == "GET" {
			object = s.Spoil(key, slices.Clone(object))
		}
		w.Header().Set("Etag", etag(object))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(object))
	}
	return nil
}

func etag(body []byte) string {
	sum := md5.Sum(body)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func (s *Server) answerBucket(w http.ResponseWriter, r *http.Request, bucket string, query url.Values, body []byte) error {
	objects, ok := s.buckets[bucket]
	switch {
	case r.Method == "PUT":
		if !ok {
			s.buckets[bucket] = make(map[string][]byte)
		}
		return nil
	case !ok:
		return refusal{404, "NoSuchBucket", bucket}
	case r.Method == "HEAD":
		return nil
	case r.Method == "DELETE":
		if len(objects) > 0 {
			return refusal{409, "BucketNotEmpty", bucket}
		}
		delete(s.buckets, bucket)
		w.WriteHeader(http.StatusNoContent)
		return nil
	case r.Method == "POST" && query.Has("delete"):
		return s.deleteMany(w, r, objects, body)
	case r.Method == "GET" && query.Get("list-type") == "2":
		return list(w, objects, query)
	}
	return refusal{501, "NotImplemented", r.Method}
}

func (s *Server) deleteMany(w http.ResponseWriter, r *http.Request, objects map[string][]byte, body []byte) error {
	if r.Header.Get("Content-Md5") == "" {
		return refusal{400, "InvalidRequest", "Content-MD5 is missing"}
	}
	var q struct {
		Quiet  bool
		Object []struct{ Key string }
	}
	if err := xml.Unmarshal(body, &q); err != nil {
		return refusal{400, "MalformedXML", err.Error()}
	}
	if len(q.Object) > 1000 || !q.Quiet {
		return refusal{400, "MalformedXML", "too many, or not quiet"}
	}
	for _, o := range q.Object {
		delete(objects, o.Key)
	}
	io.WriteString(w, `<?xml version="1.0"?><DeleteResult></DeleteResult>`)
	return nil
}

// list answers ListObjectsV2; its tokens are the last key, with what has to be encoded.
func list(w http.ResponseWriter, objects map[string][]byte, query url.Values) error {
	limit, err := strconv.Atoi(query.Get("max-keys"))
	if err != nil {
		return refusal{400, "InvalidArgument", "max-keys"}
	}
	after := strings.TrimPrefix(query.Get("continuation-token"), "+/=")
	fmt.Fprint(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	count, last := 0, ""
	for _, key := range sorted(objects) {
		if key <= after || !strings.HasPrefix(key, query.Get("prefix")) {
			continue
		}
		if count == limit {
			fmt.Fprintf(w, "<IsTruncated>true</IsTruncated><NextContinuationToken>+/=%s</NextContinuationToken>", last)
			break
		}
		fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size></Contents>", key, len(objects[key]))
		count, last = count+1, key
	}
	fmt.Fprintf(w, "<KeyCount>%d</KeyCount></ListBucketResult>", count)
	return nil
}

// answerUpload answers the requests of multipart uploads.
func (s *Server) answerUpload(w http.ResponseWriter, r *http.Request, objects map[string][]byte, key string, query url.Values, body []byte) error {
	if r.Method == "POST" && query.Has("uploads") {
		s.started++
		id := fmt.Sprintf("upload/%d+", s.started)
		s.uploads[id] = make(map[int][]byte)
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
		return nil
	}
	id := query.Get("uploadId")
	parts, ok := s.uploads[id]
	if !ok {
		return refusal{404, "NoSuchUpload", id}
	}
	switch r.Method {
	case "PUT":
		n, err := strconv.Atoi(query.Get("partNumber"))
		if err != nil || n < 1 {
			return refusal{400, "InvalidArgument", "partNumber"}
		}
		parts[n] = body
		w.Header().Set("Etag", etag(body))
		return nil
	case "DELETE":
		delete(s.uploads, id)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	var q struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(body, &q); err != nil {
		return refusal{400, "MalformedXML", err.Error()}
	}
	var whole []byte
	for i, p := range q.Part {
		part, ok := parts[p.PartNumber]
		if !ok || p.PartNumber != i+1 || p.ETag != etag(part) {
			return refusal{400, "InvalidPart", strconv.Itoa(p.PartNumber)}
		}
		whole = append(whole, part...)
	}
	objects[key] = whole
	delete(s.uploads, id)
	fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>", etag(whole))
	return nil
}
