package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/engine"
	"penstock/fastapi/admin"
	"penstock/tools/clients/corpus"
	"penstock/tools/harness"
)

// copyDrive makes a copy of a drive as a snapshot or a clone would be.
func (r *rig) copyDrive(from, to string) {
	r.t.Helper()
	if err := os.RemoveAll(to); err != nil {
		r.t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		r.t.Fatal(err)
	}
}

// remove deletes objects.
func (r *rig) remove(c content, client *s3.Client, keys ...string) {
	r.t.Helper()
	for _, key := range keys {
		if _, err := client.DeleteObject(r.t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucketName), Key: &key}); err != nil {
			r.fatal("DELETE %s: %v", key, err)
		}
		delete(c, key)
	}
}

// TestDrivesInAnyOrder starts a node with its drives named in other orders, and with their contents in each other's places.
func TestDrivesInAnyOrder(t *testing.T) {
	t.Parallel() // Most of its time it waits.
	r := newRig(t, 4)
	objects := r.fill(r.start())
	r.stop()
	for i := range 4 {
		slices.Reverse(r.options.Drives[i%2:])
		if i%2 == 1 {
			a, b := r.options.Drives[0], r.options.Drives[i]
			for _, move := range [][2]string{{a, a + ".x"}, {b, a}, {a + ".x", b}} {
				if err := os.Rename(move[0], move[1]); err != nil {
					t.Fatal(err)
				}
			}
		}
		client := r.start()
		r.check(objects, client, fmt.Sprint(r.options.Drives))
		r.put(objects, client, fmt.Sprint("order/", i), corpus.Body(uint64(i), 200_000*i+1))
		r.stop()
	}
	client := r.start()
	r.check(objects, client, "in the end")
	var report engine.VerifyReport
	if code := r.adminJSON(&report, "verify"); code != exitOK {
		t.Errorf("exit code %d, %+v", code, report)
	}
	r.stop()
}

// TestStaleDrives brings drives back as they were before much was written, overwritten and deleted: as many as there is parity change nothing, and
// are made whole; of more than that, nothing is ever taken for the truth that is not.
func TestStaleDrives(t *testing.T) {
	t.Parallel() // Most of its time it waits.
	r := newRig(t, 5, "--parity", "2", "--journal-segment", "8MiB", "--bulk-segment", "8MiB")
	client := r.start()
	objects := r.fill(client)
	r.stop()
	dirs := r.options.Drives
	for _, d := range dirs {
		r.copyDrive(d, d+".old")
	}
	client = r.start()
	var keys []string
	for key := range objects {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	r.remove(objects, client, keys[:len(keys)/3]...)
	for i, key := range keys[len(keys)/3 : len(keys)*2/3] {
		r.put(objects, client, key, corpus.Body(uint64(1000+i), 100_000*i))
	}
	for i := range 20 {
		r.put(objects, client, fmt.Sprint("later/", i), corpus.Body(uint64(2000+i), 50_000*i))
	}
	r.stop()
	for _, d := range dirs {
		r.copyDrive(d, d+".new")
	}
	reset := func(stale ...int) {
		for i, d := range dirs {
			if slices.Contains(stale, i) {
				r.copyDrive(d+".old", d)
			} else {
				r.copyDrive(d+".new", d)
			}
		}
	}
	for _, stale := range [][]int{{0, 1}, {2, 4}} {
		reset(stale...)
		client = r.start()
		r.check(objects, client, fmt.Sprint(stale, " are stale"))
		if list := r.list(client); len(list) != len(objects) {
			t.Errorf("%v are stale: %d objects are listed, want %d", stale, len(list), len(objects))
		}
		var heal admin.Heal
		r.until("what is stale is made whole, or waits", func() bool {
			r.adminJSON(&heal, "heal", "status")
			return heal.Waiting == heal.Volumes
		})
		r.put(objects, client, "while/stale", corpus.Body(uint64(stale[0]), 99))
		r.node.Kill()
		client = r.start()
		r.check(objects, client, fmt.Sprint(stale, " were stale, after kill -9"))
		r.stop()
		delete(objects, "while/stale")
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	r.options.Args = append(r.options.Args, "--address", address)
	for _, stale := range [][]int{{0, 1, 2}, {0, 2, 3, 4}, {1, 2, 3, 4}} {
		reset(stale...)
		if r.node, err = harness.Launch(r.options); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.node.Kill)
		state := ""
		r.until("it is ready, waits or ends", func() bool {
			log := r.node.Log()
			for _, what := range []string{"too many drives are missing", `"msg":"ready"`, "penstock: "} {
				if strings.Contains(log, what) {
					state = what
					return true
				}
			}
			return false
		})
		t.Logf("%v are stale: %q", stale, state)
		if state != "penstock: " {
			r.node.Endpoint = "http://" + address
			// What more old copies hold than there is parity, and other than was written, is damage beyond repair to whoever reads it: 500.
			r.doubt(objects, r.client(), fmt.Sprint(stale, " are stale"), 500)
		}
		r.node.Kill()
	}
	reset()
	client = r.start()
	r.check(objects, client, "in the end")
	r.stop()
}
