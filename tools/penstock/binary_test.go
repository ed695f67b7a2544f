package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"penstock/tools/clients/corpus"
	"penstock/tools/harness"
)

// A rig is a real binary over directories, started and stopped as a test wants.
type rig struct {
	t       *testing.T
	options harness.Options
	node    *harness.Node
	access  string
	secret  string
}

const bucketName = "binary-test"

func newRig(t *testing.T, drives int, args ...string) *rig {
	t.Helper()
	binary, err := harness.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := harness.Drives(t.TempDir(), drives)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, access: harness.AccessKey, secret: harness.SecretKey, options: harness.Options{
		Binary: binary, Drives: dirs, Args: append([]string{"--memory", "128MiB", "--journal-segment", "16MiB", "--bulk-segment", "16MiB"}, args...),
	}}
}

func (r *rig) start() *s3.Client {
	r.t.Helper()
	node, err := harness.Start(r.t.Context(), r.options)
	if err != nil {
		r.t.Fatal(err)
	}
	r.node = node
	r.t.Cleanup(node.Kill)
	return r.client()
}

func (r *rig) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &r.node.Endpoint, Region: "us-east-1", UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: awscredentials.NewStaticCredentialsProvider(r.access, r.secret, ""),
	})
}

func (r *rig) stop() {
	r.t.Helper()
	took, err := r.node.Stop()
	if err != nil {
		r.t.Fatal(err)
	}
	if took > stopLimit {
		r.t.Fatalf("stopping took %v; %v is promised", took, stopLimit)
	}
}

// fatal is Fatal with the node's log.
func (r *rig) fatal(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), r.node.Log())
}

// A content is what a bucket should hold.
type content map[string][]byte

func (r *rig) put(c content, client *s3.Client, key string, body []byte) {
	r.t.Helper()
	_, err := client.PutObject(r.t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		r.fatal("PUT %s: %v", key, err)
	}
	c[key] = body
}

// putMultipart stores two parts.
func (r *rig) putMultipart(c content, client *s3.Client, key string, body []byte) {
	r.t.Helper()
	ctx := r.t.Context()
	begun, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(bucketName), Key: &key})
	if err != nil {
		r.fatal("%v", err)
	}
	var parts []types.CompletedPart
	for i, piece := range [][]byte{body[:5<<20], body[5<<20:]} {
		number := aws.Int32(int32(i + 1))
		out, err := client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: aws.String(bucketName), Key: &key, UploadId: begun.UploadId, PartNumber: number, Body: bytes.NewReader(piece),
		})
		if err != nil {
			r.fatal("%v", err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: number, ETag: out.ETag})
	}
	_, err = client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: aws.String(bucketName), Key: &key, UploadId: begun.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err != nil {
		r.fatal("%v", err)
	}
	c[key] = body
}

// fill makes the bucket and stores bodies of every size and keys of every kind.
func (r *rig) fill(client *s3.Client) content {
	r.t.Helper()
	if _, err := client.CreateBucket(r.t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucketName)}); err != nil {
		r.fatal("%v", err)
	}
	c := content{}
	for i, size := range corpus.Sizes {
		r.put(c, client, fmt.Sprintf("sizes/%d", size), corpus.Body(uint64(i), size))
	}
	for _, key := range corpus.Keys {
		r.put(c, client, key, []byte("body of "+key))
	}
	r.putMultipart(c, client, "multipart", corpus.Body(100, 12<<20+5))
	return c
}

// check reads everything back and lists it.
func (r *rig) check(c content, client *s3.Client, when string) {
	r.t.Helper()
	for key, want := range c {
		out, err := client.GetObject(r.t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucketName), Key: &key})
		if err != nil {
			r.fatal("%s: GET %q: %v", when, key, err)
		}
		got, err := io.ReadAll(out.Body)
		out.Body.Close()
		if err != nil || !bytes.Equal(got, want) {
			r.fatal("%s: GET %q: %d bytes, %v; want the %d stored", when, key, len(got), err, len(want))
		}
	}
	if listed := r.list(client); !slices.Equal(slices.Sorted(maps.Keys(listed)), slices.Sorted(maps.Keys(c))) {
		r.fatal("%s: LIST has %d keys; want %d", when, len(listed), len(c))
	}
}

// list returns what the bucket's listing says of each key.
func (r *rig) list(client *s3.Client) map[string]string {
	r.t.Helper()
	lines := map[string]string{}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String(bucketName), MaxKeys: aws.Int32(17)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(r.t.Context())
		if err != nil {
			r.fatal("LIST: %v", err)
		}
		for _, o := range page.Contents {
			lines[*o.Key] = fmt.Sprintf("%s %d %s %v", *o.ETag, *o.Size, o.LastModified, o.StorageClass)
		}
	}
	return lines
}

// TestSecondStart serves the same data after an orderly stop and after SIGKILL.
func TestSecondStart(t *testing.T) {
	r := newRig(t, 6)
	client := r.start()
	c := r.fill(client)
	r.check(c, client, "first start")
	listed := r.list(client)
	r.stop()
	client = r.start()
	r.check(c, client, "second start")
	r.node.Kill()
	client = r.start()
	r.check(c, client, "start after SIGKILL")
	if again := r.list(client); !maps.Equal(again, listed) {
		t.Errorf("the listing changed: %v\nwas %v", again, listed)
	}
	for _, name := range []string{"endpoint", "drives", "geometry", "io", "simd", "startup"} {
		if r.node.Ready[name] == nil {
			t.Errorf("the ready line has no %q: %v", name, r.node.Ready)
		}
	}
	if r.node.Ready["geometry"] != "4+2" || r.node.Ready["drives"] != 6.0 {
		t.Errorf("ready line: %v; want 6 drives, 4+2", r.node.Ready)
	}
	r.stop()
}

// TestAnyTwoDrives takes away every pair of six drives in turn, as missing directories and as empty ones, reads
// everything and goes on writing. The drives come back with what they missed.
func TestAnyTwoDrives(t *testing.T) {
	r := newRig(t, 6)
	client := r.start()
	c := r.fill(client)
	r.stop()
	pair := 0
	for i := range 6 {
		for j := i + 1; j < 6; j++ {
			pair++
			when := fmt.Sprintf("without d%d and d%d", i+1, j+1)
			for _, n := range []int{i, j} {
				dir := r.options.Drives[n]
				rename(t, dir, dir+".away")
				if pair%2 == 0 { // What is left when a file system is not mounted.
					if err := os.Mkdir(dir, 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			client = r.start()
			r.check(c, client, when)
			r.put(c, client, "small "+when, corpus.Body(uint64(pair), 5000))
			r.put(c, client, "large "+when, corpus.Body(uint64(pair+100), 700_000))
			r.put(c, client, "overwritten", corpus.Body(uint64(pair+200), 300_000))
			delete(c, fmt.Sprintf("sizes/%d", corpus.Sizes[pair%len(corpus.Sizes)]))
			_, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{
				Bucket: aws.String(bucketName), Key: aws.String(fmt.Sprintf("sizes/%d", corpus.Sizes[pair%len(corpus.Sizes)])),
			})
			if err != nil {
				r.fatal("%s: DELETE: %v", when, err)
			}
			r.check(c, client, when+", after writes")
			r.stop()
			for _, n := range []int{i, j} {
				dir := r.options.Drives[n]
				if pair%2 == 0 {
					if err := os.Remove(dir); err != nil { // Fails when anything was written to it.
						t.Fatalf("%s: the empty directory of a missing drive was used: %v", when, err)
					}
				}
				rename(t, dir+".away", dir)
			}
		}
	}
	client = r.start()
	r.check(c, client, "with all drives back")
	r.stop()
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestIndexLost deletes the index, with and without its checkpoints, and by command; the listing must come back as it was.
func TestIndexLost(t *testing.T) {
	r := newRig(t, 6)
	client := r.start()
	c := r.fill(client)
	began, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(bucketName), Key: aws.String("in progress")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucketName), Key: aws.String("a/b")}); err != nil {
		t.Fatal(err)
	}
	delete(c, "a/b")
	listed := r.list(client)
	r.stop()
	for _, lose := range []struct{ name, pattern string }{
		{"index", "index"},
		{"index and checkpoints", "{index,checkpoint}"},
		{"nothing, but asked to rebuild", ""},
	} {
		if lose.pattern == "" {
			var stdout, stderr bytes.Buffer
			args := append([]string{"rebuild-index", "--memory", "128MiB"}, r.options.Drives...)
			if code := run(t.Context(), args, env{}.get, &stdout, &stderr); code != exitOK {
				t.Fatalf("rebuild-index: exit code %d\n%s", code, stderr.String())
			}
		} else if removeFromDrives(t, r.options.Drives, lose.pattern) == 0 {
			t.Fatalf("no drive has %s", lose.pattern)
		}
		client = r.start()
		r.check(c, client, "after losing "+lose.name)
		if again := r.list(client); !maps.Equal(again, listed) {
			t.Errorf("after losing %s the listing is %v\nwas %v", lose.name, again, listed)
		}
		uploads, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(bucketName)})
		if err != nil || len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *began.UploadId {
			t.Errorf("after losing %s the uploads are %v, %v; want the one in progress", lose.name, uploads, err)
		}
		r.stop()
	}
}

// removeFromDrives removes what is named "{a,b}" or "a" from every drive and returns how many there were.
func removeFromDrives(t *testing.T, drives []string, names string) (removed int) {
	t.Helper()
	for _, drive := range drives {
		for name := range strings.SplitSeq(strings.Trim(names, "{}"), ",") {
			path := filepath.Join(drive, name)
			if entries, _ := os.ReadDir(path); len(entries) > 0 {
				removed++
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	return removed
}

// TestStopWithWork sends SIGTERM while an upload crawls and connections idle: what is done stays, and the stop is in time.
func TestStopWithWork(t *testing.T) {
	r := newRig(t, 3)
	client := r.start()
	c := r.fill(client)
	r.crawl() // Its client never finishes.
	r.stop()
	client = r.start()
	r.check(c, client, "after a stop with work in flight")

	r.crawl()
	if err := r.node.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.waitLog("stopping")
	begun := time.Now()
	if err := r.node.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := r.node.ExitCode(); code != exitFailure {
		t.Errorf("exit code %d after a second signal; want %d\n%s", code, exitFailure, r.node.Log())
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("a second signal took %v", took)
	}
	client = r.start()
	r.check(c, client, "after a second signal")
	r.stop()
}

// crawl begins an upload of a gigabyte on a connection of its own and sends little of it, and opens an idle connection.
func (r *rig) crawl() {
	r.t.Helper()
	presigned, err := s3.NewPresignClient(r.client()).PresignPutObject(r.t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(bucketName), Key: aws.String("crawling"),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	address := strings.TrimPrefix(r.node.Endpoint, "http://")
	target := strings.TrimPrefix(presigned.URL, r.node.Endpoint)
	for _, text := range []string{
		"",
		fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n", target, address),
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { conn.Close() })
		if text == "" {
			continue
		}
		if _, err := io.WriteString(conn, text); err != nil {
			r.t.Fatal(err)
		}
		answer := make([]byte, 12)
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 100" {
			r.fatal("an upload that should begin is answered %q, %v", answer, err)
		}
		if _, err := conn.Write(make([]byte, 300_000)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// waitLog waits until the node's log has a line with text.
func (r *rig) waitLog(text string) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(r.node.Log(), text); {
		if time.Now().After(deadline) {
			r.fatal("the log never says %q", text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestGeneratedRoot looks where a generated pair is shown and kept, and where it is not.
func TestGeneratedRoot(t *testing.T) {
	r := newRig(t, 3)
	r.options.NoRoot = true
	r.start()
	wait := time.Now().Add(10 * time.Second)
	for !strings.Contains(r.node.Stdout(), "list-type=2") && time.Now().Before(wait) { // Shown after the ready line.
		time.Sleep(5 * time.Millisecond)
	}
	shown := r.node.Stdout()
	r.access, r.secret = between(shown, "access key  "), between(shown, "secret key  ")
	if len(r.access) != 20 || len(r.secret) != 40 {
		t.Fatalf("a first start shows no pair:\n%s", shown)
	}
	if _, err := r.client().ListBuckets(t.Context(), &s3.ListBucketsInput{}); err != nil {
		t.Errorf("with the pair shown: %v", err)
	}
	for _, drive := range r.options.Drives {
		info, err := os.Stat(filepath.Join(drive, rootFile))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s on %s: %v, %v; want mode 0600", rootFile, drive, info, err)
		}
	}
	r.stop()
	if strings.Contains(r.node.Log(), r.secret) {
		t.Error("the secret key is in the log")
	}
	// A drive that lost its copy does not matter.
	if err := os.Remove(filepath.Join(r.options.Drives[0], rootFile)); err != nil {
		t.Fatal(err)
	}
	client := r.start()
	if _, err := client.ListBuckets(t.Context(), &s3.ListBucketsInput{}); err != nil {
		t.Errorf("second start, with the pair of the first: %v", err)
	}
	r.stop()
	if again := r.node.Stdout() + r.node.Log(); strings.Contains(again, r.secret) || !strings.Contains(again, r.access) {
		t.Errorf("a second start shows the secret, or not the access key:\n%s", again)
	}
}

// between returns the rest of the line after label.
func between(text, label string) string {
	_, rest, _ := strings.Cut(text, label)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// TestHealth asks a ready node for its health, without credentials.
func TestHealth(t *testing.T) {
	r := newRig(t, 3)
	r.start()
	for _, path := range []string{livePath, readyPath} {
		response, err := http.Get(r.node.Endpoint + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 200 {
			t.Errorf("GET %s: %d", path, response.StatusCode)
		}
	}
	r.stop()
}

// TestTLSReload renews the certificate of a running node with SIGHUP.
func TestTLSReload(t *testing.T) {
	dir := t.TempDir()
	first, err := harness.NewCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, 3, "--tls-cert", first.CertFile, "--tls-key", first.KeyFile)
	r.start()
	served := func(pool *harness.Certificate) error {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(r.node.Endpoint, "https://"), &tls.Config{RootCAs: pool.Pool})
		if err != nil {
			return err
		}
		defer conn.Close()
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber; got.Cmp(pool.Serial) != 0 {
			return errors.New("another certificate")
		}
		return nil
	}
	if err := served(first); err != nil {
		t.Fatal(err)
	}
	second, err := harness.NewCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.node.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.waitLog("certificate loaded")
	if err := served(second); err != nil {
		t.Errorf("after SIGHUP: %v", err)
	}
	r.stop()
}

// TestNUMANode runs the node bound to NUMA node 0, which every machine has.
func TestNUMANode(t *testing.T) {
	r := newRig(t, 3, "--numa-node", "0")
	client := r.start()
	c := r.fill(client)
	r.check(c, client, "bound to a NUMA node")
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", r.node.Pid()))
	if err != nil || !bytes.Contains(environ, []byte(boundEnv+"=0\x00")) {
		t.Errorf("the process was not executed anew on its NUMA node: %v", err)
	}
	r.stop()
}

// TestConfigFile starts a node from a file alone.
func TestConfigFile(t *testing.T) {
	r := newRig(t, 3)
	dir := filepath.Dir(r.options.Drives[0])
	name := filepath.Join(dir, "penstock.yaml")
	text := fmt.Sprintf("# A node in one file.\ndrives: %q\nparity: 1\nmemory: 128MiB\nregion: eu-test-1\nlog-level: debug\n", dir+"/d{1...3}")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.options.Drives, r.options.Args = nil, []string{"--config", name}
	client := r.start()
	if r.node.Ready["geometry"] != "2+1" {
		t.Errorf("ready line: %v; want geometry 2+1", r.node.Ready)
	}
	_, err := client.ListBuckets(t.Context(), &s3.ListBucketsInput{}) // Signed for us-east-1.
	if err == nil || !strings.Contains(err.Error(), "AuthorizationHeaderMalformed") {
		t.Errorf("a request signed for another region: %v; want it refused", err)
	}
	r.stop()
}

// TestMistakesOfTheBinary runs commands that must end at once, with one line and exit code 2 or 1.
func TestMistakesOfTheBinary(t *testing.T) {
	dir := t.TempDir()
	mkdir := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := mkdir("foreign")
	if err := os.WriteFile(filepath.Join(foreign, "holiday.jpg"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(config, []byte("parity: 1\nparitty: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	blank := mkdir("blank")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(blank, link); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	used, other := newRig(t, 3), newRig(t, 3)
	used.start()
	other.start()
	other.stop()

	server := func(args ...string) []string {
		return append([]string{"server", "--address", "127.0.0.1:0", "--memory", "128MiB"}, args...)
	}
	for _, c := range []struct {
		name string
		args []string
		env  env
		code int
		want string
	}{
		{"no command that exists", []string{"sever"}, nil, exitMistake, `unknown command "sever"`},
		{"unknown flag", server("--partiy", "2", blank), nil, exitMistake, "unknown flag: --partiy"},
		{"bad value", server("--parity", "x", blank), nil, exitMistake, "--parity"},
		{"bad environment", server(blank), env{"PENSTOCK_LOG_LEVEL": "loud"}, exitMistake, "PENSTOCK_LOG_LEVEL"},
		{"half a root pair", server(blank), env{"PENSTOCK_ROOT_ACCESS_KEY": "abc"}, exitMistake, "PENSTOCK_ROOT_SECRET_KEY"},
		{"unknown key in the file", server("--config", config, blank), nil, exitMistake, `bad.yaml:2: unknown key "paritty"`},
		{"no drives", server(), nil, exitMistake, "no drives"},
		{"parity of all drives", server("--parity", "1", blank), nil, exitMistake, "--parity 1"},
		{"no such NUMA node", server("--numa-node", "1000", blank), nil, exitMistake, "--numa-node 1000"},
		{"no certificate", server("--tls-cert", dir+"/none.crt", "--tls-key", dir+"/none.key", blank), nil, exitMistake, "none.crt"},
		{"foreign files", server(foreign), nil, exitMistake, foreign},
		{"a file for a drive", server(config), nil, exitMistake, config},
		{"the same drive twice", server(blank, link), nil, exitMistake, "same"},
		{"a drive in use", server(used.options.Drives...), nil, exitMistake, used.options.Drives[0]},
		{"drives of two stores", server(append(slices.Clone(other.options.Drives[:2]), used.options.Drives[0])...), nil, exitMistake, "store"},
		{"rebuild of blank drives", []string{"rebuild-index", "--memory", "128MiB", blank}, nil, exitMistake, blank},
		{"a port in use", []string{"server", "--address", taken.Addr().String(), "--memory", "128MiB", blank}, nil, exitFailure, "address already in use"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		var stdout, stderr bytes.Buffer
		code := run(ctx, c.args, c.env.get, &stdout, &stderr)
		cancel()
		lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
		// The logger may have had something to say first; it is told apart by its form.
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, `{"time"`) })
		if code != c.code || len(lines) != 1 || !strings.HasPrefix(lines[0], "penstock: ") || !strings.Contains(lines[0], c.want) || stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, output %q; want %d and one line with %q", c.name, code, stderr.String(), stdout.String(), c.code, c.want)
		}
	}
	if entries, err := os.ReadDir(blank); err != nil || len(entries) > 0 {
		t.Errorf("a blank drive was touched by commands that were refused: %v, %v", entries, err)
	}
	used.stop()
}
