package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/tools/clients/corpus"
)

// TestMemoryCeiling lets a thousand slow clients upload 64 MiB each, watches the size of the process, and then cuts
// them all off. Whoever has no room is told so; nobody is stored in part; the node serves on.
func TestMemoryCeiling(t *testing.T) {
	const (
		clients = 1000
		bodyLen = 64 << 20
		memory  = 256 << 20
		pieces  = 12 // Each client sends so many, of 64 KiB, then stands still.
	)
	r := newRig(t, 6, "--memory", formatSize(memory))
	client := r.start()
	c := r.fill(client)

	presigned, err := s3.NewPresignClient(client).PresignPutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(bucketName), Key: aws.String("slow"),
	})
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(r.node.Endpoint, "http://")
	head := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", strings.TrimPrefix(presigned.URL, r.node.Endpoint), address, bodyLen)

	var refused, unexpected atomic.Int64
	var sending, all sync.WaitGroup
	end := make(chan struct{})
	for range clients {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		// An answer can only be a refusal: the body never ends.
		all.Go(func() {
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				return // Cut off by us.
			}
			answer.Body.Close()
			if answer.StatusCode == 503 {
				refused.Add(1)
			} else {
				unexpected.Add(1)
			}
		})
		sending.Add(1)
		all.Go(func() {
			defer conn.Close()
			io.WriteString(conn, head)
			piece := make([]byte, 64<<10)
			for range pieces {
				conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
				if _, err := conn.Write(piece); err != nil {
					break // Refused, or the node takes no more for now.
				}
				time.Sleep(100 * time.Millisecond)
			}
			sending.Done()
			<-end
		})
	}
	most := int64(0)
	done := make(chan struct{})
	go func() { sending.Wait(); close(done) }()
	for sampling := true; sampling; {
		select {
		case <-done:
			sampling = false
		case <-time.After(50 * time.Millisecond):
		}
		most = max(most, residentMemory(t, r.node.Pid()))
	}
	close(end)
	all.Wait()
	t.Logf("%d clients: %s resident at most, %d told to slow down", clients, formatSize(most>>20<<20), refused.Load())
	if most > memory+runtimeOverhead {
		t.Errorf("resident memory reached %d MiB; --memory is %d MiB and the constant %d MiB", most>>20, memory>>20, runtimeOverhead>>20)
	}
	if unexpected.Load() > 0 {
		t.Errorf("%d clients were answered something else than 503", unexpected.Load())
	}
	r.put(c, client, "after the storm", corpus.Body(1, 3<<20))
	r.check(c, client, "after the storm")
	r.stop()
}

// residentMemory reads the resident size of a process, in bytes.
func residentMemory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	kib, err := strconv.ParseInt(strings.Fields(between(string(text), "VmRSS:"))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
