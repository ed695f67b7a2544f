package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/engine"
	"penstock/fastapi/admin"
	"penstock/tools/clients/corpus"
)

// empty removes all that a drive holds.
func (r *rig) empty(drive int) {
	r.t.Helper()
	entries, err := os.ReadDir(r.options.Drives[drive])
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(r.options.Drives[drive], e.Name())); err != nil {
			r.t.Fatal(err)
		}
	}
}

// ids returns the drives that are used, by path.
func (r *rig) ids() map[string]string {
	r.t.Helper()
	var info admin.Info
	r.adminJSON(&info, "info")
	ids := make(map[string]string)
	for _, d := range info.Drives {
		if d.State == "ok" {
			ids[d.Path] = d.ID
		}
	}
	return ids
}

// TestWipedInTurn empties two drives of six under a running node that takes empty ones for replacements, waits until it has healed, and goes on with two others until none of the
// first is left: nothing is lost, and a verification agrees each time.
func TestWipedInTurn(t *testing.T) {
	t.Parallel() // Most of its time it waits.
	r := newRig(t, 6, "--replace-empty", "--journal-segment", "8MiB", "--bulk-segment", "16MiB")
	client := r.start()
	objects := r.fill(client)
	for round := range 3 {
		var before admin.Heal
		r.adminJSON(&before, "heal", "status")
		old := r.ids()
		r.empty(2 * round)
		r.empty(2*round + 1)
		wiped := time.Now()
		r.doubt(objects, client, fmt.Sprintf("round %d: just wiped", round)) // The index may be on one of them.
		key, body := fmt.Sprint("round/", round), corpus.Body(uint64(round), 700_000)
		r.until("writes go on", func() bool {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: &key, Body: bytes.NewReader(body)})
			return err == nil
		})
		objects[key] = body
		var heal admin.Heal
		r.until("shards are made anew", func() bool {
			r.adminJSON(&heal, "heal", "status")
			return heal.Moved > before.Moved
		})
		t.Logf("round %d: healing had made the first shard anew %v after the drives were wiped", round, time.Since(wiped).Round(time.Second/10))
		r.until("both have been replaced", func() bool {
			now := r.ids()
			a, b := r.options.Drives[2*round], r.options.Drives[2*round+1]
			return now[a] != "" && now[a] != old[a] && now[b] != "" && now[b] != old[b]
		})
		if code := r.adminJSON(&heal, "heal", "status", "--wait", "--timeout", "60s"); code != exitOK {
			r.fatal("round %d: exit code %d, %+v", round, code, heal)
		}
		r.until("the old ones have left", func() bool { return r.failed() == 0 })
		r.until("everything is answered", func() bool { return r.doubt(objects, client, fmt.Sprintf("round %d: healed", round)) == 0 })
		var report engine.VerifyReport
		if code := r.adminJSON(&report, "verify"); code != exitOK {
			t.Errorf("round %d: the ledger is empty, and a verification says %d: %+v", round, code, report)
		}
	}
	r.node.Kill()
	client = r.start()
	r.check(objects, client, "after kill -9")
	r.stop()
}
