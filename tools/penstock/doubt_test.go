package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/transport/http"

	"penstock/fastapi/admin"
	"penstock/tools/harness"
)

// statusOf returns the status of an answer: 200 without an error, 0 if there was none.
func statusOf(err error) int {
	if err == nil {
		return 200
	}
	if answer, ok := errors.AsType[*http.ResponseError](err); ok {
		return answer.HTTPStatusCode()
	}
	return 0
}

// doubt reads everything and expects each answer to be the whole truth or 503, or of those given. It returns how many were that.
func (r *rig) doubt(c content, client *s3.Client, when string, also ...int) (unknown int) {
	r.t.Helper()
	check := func(what string, err error) bool {
		switch status := statusOf(err); {
		case status == 200:
			return true
		case status == 503, slices.Contains(also, status):
			unknown++
		default:
			r.t.Errorf("%s: %s: %d %v", when, what, status, err)
		}
		return false
	}
	for key, want := range c {
		_, err := client.HeadObject(r.t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucketName), Key: &key})
		check("HEAD "+key, err)
		out, err := client.GetObject(r.t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucketName), Key: &key})
		if !check("GET "+key, err) {
			continue
		}
		got, err := io.ReadAll(out.Body)
		out.Body.Close()
		if err == nil && !bytes.Equal(got, want) {
			r.t.Errorf("%s: GET %s: %d wrong bytes, want %d", when, key, len(got), len(want))
		}
		if err != nil {
			unknown++ // What was sent before it broke off was right, as far as the client can know.
		}
	}
	list, err := client.ListObjectsV2(r.t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucketName)})
	if check("LIST", err) && len(list.Contents) != len(c) {
		r.t.Errorf("%s: LIST has %d objects of %d", when, len(list.Contents), len(c))
	}
	buckets, err := client.ListBuckets(r.t.Context(), nil)
	if check("LIST buckets", err) && len(buckets.Buckets) != 1 {
		r.t.Errorf("%s: %d buckets", when, len(buckets.Buckets))
	}
	return unknown
}

// move moves drives away, or back.
func (r *rig) move(away bool, drives ...int) {
	r.t.Helper()
	for _, i := range drives {
		from, to := r.options.Drives[i], r.options.Drives[i]+".away"
		if !away {
			from, to = to, from
		}
		if err := os.Rename(from, to); err != nil {
			r.t.Fatal(err)
		}
	}
}

// failed returns how many drives the node does without.
func (r *rig) failed() (n int) {
	r.t.Helper()
	var info admin.Info
	r.adminJSON(&info, "info")
	for _, d := range info.Drives {
		if d.State != "ok" {
			n++
		}
	}
	return n
}

// TestDrivesVanish empties one drive and moves another away under a node that has all their files open: it notices, goes on without them, and
// keeps nothing where the next start would not find it.
func TestDrivesVanish(t *testing.T) {
	t.Parallel() // Most of its time it waits.
	r := newRig(t, 6)
	client := r.start()
	objects := r.fill(client)
	entries, err := os.ReadDir(r.options.Drives[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(r.options.Drives[0], e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	r.move(true, 1)
	r.until("two drives are missed", func() bool { return r.failed() == 2 })
	for i := range 40 {
		r.put(objects, client, fmt.Sprint("after/", i), bytes.Repeat([]byte{byte(i)}, 300_000*(i%3)+10))
	}
	r.check(objects, client, "with four drives of six")
	if _, err := os.Stat(r.options.Drives[1]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made where a drive was: %v", err)
	}
	r.node.Kill()
	client = r.start()
	r.check(objects, client, "after kill -9")
	r.stop()
	r.move(false, 1)
	client = r.start()
	r.check(objects, client, "with the drive that is back")
	var heal admin.Heal
	r.until("what has come back is whole", func() bool {
		r.adminJSON(&heal, "heal", "status")
		return heal.Waiting == heal.Volumes
	})
	r.stop()
}

// TestSegmentsVanish removes some segments of two drives, one after the other has been made whole, under a node that has them open.
func TestSegmentsVanish(t *testing.T) {
	t.Parallel() // Most of its time it waits.
	r := newRig(t, 4, "--parity", "1")
	client := r.start()
	objects := r.fill(client)
	segments, err := filepath.Glob(filepath.Join(r.options.Drives[2], "segments", "*"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	for _, path := range segments {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	r.until("the drive is missed", func() bool { return r.failed() == 1 })
	r.check(objects, client, "without segments")
	r.stop()
	client = r.start()
	var heal admin.Heal
	if code := r.adminJSON(&heal, "heal", "status", "--wait", "--timeout", "60s"); code != exitOK || heal.Shards != 0 {
		r.fatal("exit code %d, %+v", code, heal)
	}
	r.stop()
	r.move(true, 0)
	client = r.start()
	r.check(objects, client, "when another drive goes")
	r.stop()
}

// TestDoubtIs503 takes more drives away than there is parity, in every way: no answer is anything but the truth or 503, and all is there
// when the drives are.
func TestDoubtIs503(t *testing.T) {
	t.Parallel() // Most of its time it waits.
	r := newRig(t, 6)
	client := r.start()
	objects := r.fill(client)
	r.move(true, 0, 2, 4)
	r.doubt(objects, client, "moved away while running")
	r.until("the drives are missed", func() bool { return r.failed() == 3 })
	r.doubt(objects, client, "missed")
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: aws.String("new"), Body: bytes.NewReader([]byte("x"))})
	switch statusOf(err) {
	case 200:
		objects["new"] = []byte("x")
	case 503:
	default:
		t.Errorf("PUT without the drives: %v", err)
	}
	r.node.Kill()

	place := func(away ...int) {
		for i := range r.options.Drives {
			_, err := os.Stat(r.options.Drives[i] + ".away")
			if gone := err == nil; gone != slices.Contains(away, i) {
				r.move(!gone, i)
			}
		}
	}
	// At a port of its own, to be asked before it is ready.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	r.options.Args = append(r.options.Args, "--address", address)
	for _, away := range [][]int{{0, 2, 4}, {1, 3, 5}, {0, 1, 2, 3}, {1, 2, 3, 4, 5}} {
		place(away...)
		if r.node, err = harness.Launch(r.options); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.node.Kill)
		r.until("it is ready, or waits for drives", func() bool {
			return strings.Contains(r.node.Log(), "too many drives are missing") || strings.Contains(r.node.Log(), `"msg":"ready"`)
		})
		r.node.Endpoint = "http://" + address
		waits := !strings.Contains(r.node.Log(), `"msg":"ready"`)
		unknown := r.doubt(objects, r.client(), fmt.Sprint("started without ", away))
		if waits && unknown != 2*len(objects)+2 {
			t.Errorf("without %v: %d answers of a node that waits for drives", away, 2*len(objects)+2-unknown)
		}
		if !waits {
			r.stop()
			continue
		}
		place() // They come back while it waits.
		if err := r.node.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.check(objects, r.client(), fmt.Sprint("back after ", away))
		r.stop()
	}
	place()
	client = r.start()
	if unknown := r.doubt(objects, client, "with all drives"); unknown != 0 {
		t.Errorf("%d answers are still unknown", unknown)
	}
	r.stop()
	// It stops while it waits, too.
	place(1, 2, 3, 4, 5)
	if r.node, err = harness.Launch(r.options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.node.Kill)
	r.until("it waits for drives", func() bool { return strings.Contains(r.node.Log(), "too many drives are missing") })
	r.stop()
}
