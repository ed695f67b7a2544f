package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/engine"
	"penstock/tools/clients/corpus"
)

// TestVerifyAfterKills kills a node again and again while clients write, overwrite, copy and delete. Whatever it leaves is well, as a verification of the drives at rest and one of
// the node that comes up on them say.
func TestVerifyAfterKills(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4, "--journal-segment", "8MiB", "--bulk-segment", "8MiB")
	client := r.start()
	r.fill(client)
	sizes := []int{0, 100, 5_000, 130_000, 400_000, 1_500_000}
	for round := range 3 {
		done := make(chan struct{})
		var clients sync.WaitGroup
		for worker := range 3 {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(worker)))
			client := r.client()
			clients.Go(func() { // Its requests fail when the node is killed.
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					default:
					}
					key := fmt.Sprintf("w%d/%d", worker, rng.IntN(12))
					switch rng.IntN(8) {
					case 0, 1:
						_, _ = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucketName), Key: &key})
					case 2:
						from := fmt.Sprintf("%s/w%d/%d", bucketName, worker, rng.IntN(12))
						_, _ = client.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String(bucketName), Key: &key, CopySource: &from})
					case 3:
						_, _ = client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(bucketName), Key: &key})
					default:
						body := corpus.Body(rng.Uint64(), sizes[rng.IntN(len(sizes))])
						_, _ = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: &key, Body: bytes.NewReader(body)})
					}
				}
			})
		}
		time.Sleep(time.Duration(300+200*round) * time.Millisecond) // How far they get does not matter.
		r.node.Kill()
		close(done)
		clients.Wait()
		var out, log bytes.Buffer
		var report engine.VerifyReport
		code := run(t.Context(), append([]string{"verify", "--json", "--memory", "128MiB", "--scratch", t.TempDir()}, r.options.Drives...), env{}.get, &out, &log)
		if err := json.Unmarshal(out.Bytes(), &report); err != nil || code != exitOK || report.Index.Versions == 0 {
			t.Fatalf("round %d, at rest: exit code %d, %v\n%s%s", round, code, err, out.Bytes(), log.Bytes())
		}
		client = r.start()
		online := engine.VerifyReport{}
		if code := r.adminJSON(&online, "verify"); code != exitOK || online.Index.Versions != report.Index.Versions || online.Index.Bytes != report.Index.Bytes {
			t.Fatalf("round %d, serving: exit code %d, %+v, and at rest %+v", round, code, online, report)
		}
	}
	r.stop()
}
