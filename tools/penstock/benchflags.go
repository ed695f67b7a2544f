package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"penstock/bench"
	"penstock/bench/client"
	"penstock/fastapi"
)

// benchFlags are the flags of one operation of "penstock bench".
type benchFlags struct {
	op string

	bucket, prefix, region string
	insecure               bool
	ca                     string

	size        string
	sizeFile    string
	payload     string
	chunkLen    int64
	checksum    string
	contentMD5  bool
	concurrent  int
	duration    time.Duration
	warmUp      time.Duration
	objects     int
	rate        float64
	stableFor   time.Duration
	stablePct   float64
	cache       string
	seed        uint64
	verify      bool
	keep, reuse bool

	rangeLen, rangeAlign int64
	pageLen, batch       int
	mix                  string
	partLen              int64
	ranks, workers       int
	batchLen, prefetch   int
	stepMS               float64
	writers              int
	checkpointLen        int64
	every                time.Duration
	coldCommand          string

	serverPID   int
	serverCores float64
	host        string
	json, csv   string
}

// defaultObjects are made for operations that need some, unless told otherwise: enough to choose from, soon made.
var defaultObjects = map[string]int{
	"get": 1000, "range": 100, "stat": 1000, "mixed": 1000, "list": 10_000, "delete": 10_000, "epoch": 2000, "checkpoint": 100,
}

// defaultSizes are those that an operation is usually measured with.
var defaultSizes = map[string]string{
	"range": "64MiB", "stat": "4KiB", "list": "4KiB", "delete": "4KiB", "multipart": "64MiB", "epoch": "100KiB-1MiB", "checkpoint": "4MiB",
}

// register adds the flags to a set: those of every operation, and those of this one.
func (f *benchFlags) register(flags *pflag.FlagSet) {
	f.size = cmp.Or(defaultSizes[f.op], "1MiB")
	flags.StringVar(&f.size, "size", f.size, "size of objects, or from-to for sizes between the two")
	flags.StringVar(&f.sizeFile, "size-file", "", "file with a line for each size or from-to, and its weight")
	if f.op != "epoch" {
		flags.IntVar(&f.concurrent, "concurrent", 16, "requests at a time, with a connection each")
	}
	if objects := defaultObjects[f.op]; objects > 0 {
		flags.IntVar(&f.objects, "objects", 0, fmt.Sprintf("objects to make and use (default %d)", objects))
	} else {
		flags.IntVar(&f.objects, "objects", 0, "objects to upload; with --duration, upload them over and over (default a new one each time)")
	}
	flags.DurationVar(&f.duration, "duration", 0, "how long to begin requests (default 10s, or with --objects until each object was had once)")
	flags.DurationVar(&f.warmUp, "warm-up", 0, "how long to send requests before they count")
	if f.op != "epoch" {
		flags.Float64Var(&f.rate, "rate", 0, "requests a second; latencies count from when each was due (default as many as get done)")
	}
	flags.DurationVar(&f.stableFor, "stable-for", 0, "end early when the throughput was stable for so long, six seconds at least (default never)")
	flags.Float64Var(&f.stablePct, "stable-percent", 5, "how much a stable throughput may vary")
	f.registerUploads(flags)
	f.registerReads(flags)
	f.registerOwn(flags)
	f.registerTarget(flags)
	flags.IntVar(&f.serverPID, "server-pid", 0, "process of the server on this machine, to report its CPU time")
	flags.Float64Var(&f.serverCores, "server-cores", 0, "cores that the servers have in all (default those of --server-pid, or of the machine)")
	flags.StringVar(&f.host, "host", "", `what "bench host" measured on the servers' machine (default as kept by it on this one)`)
	flags.StringVar(&f.json, "json", "", "also write the report to this file, for compare and merge")
	flags.StringVar(&f.csv, "csv", "", "also write the report to this file, a line for each kind of request")
}

func (f *benchFlags) registerUploads(flags *pflag.FlagSet) {
	flags.StringVar(&f.payload, "payload", "unsigned", "protection of uploads: "+strings.Join(bench.PayloadNames(), ", "))
	flags.Var(sizeValue(&f.chunkLen, 8<<10, "auto"), "chunk-size", "chunks of a body in chunks; auto is 64KiB signed, 1MiB unsigned")
	flags.StringVar(&f.checksum, "checksum", client.Checksums[0], "checksum in the trailer: "+strings.Join(client.Checksums, ", "))
	flags.BoolVar(&f.contentMD5, "content-md5", false, "send Content-MD5 with every upload")
}

// registerReads adds the flags of operations that read what was made before.
func (f *benchFlags) registerReads(flags *pflag.FlagSet) {
	f.cache = string(bench.AsIs)
	if bench.Reads(f.op) {
		flags.StringVar(&f.cache, "cache", f.cache, `state of the caches: "warm" reads each object once before; "cold" empties them and reads each object once at most`)
		flags.StringVar(&f.coldCommand, "cold-command", "", "what empties the caches (default drop the page cache of this machine)")
	}
	if defaultObjects[f.op] > 0 {
		flags.BoolVar(&f.verify, "verify", false, "compare every byte or key that comes back with what was stored")
		flags.BoolVar(&f.reuse, "reuse", false, "take the objects that a run with the same prefix, seed, sizes and number kept")
	}
}

// registerOwn adds the flags that this operation alone has.
func (f *benchFlags) registerOwn(flags *pflag.FlagSet) {
	switch f.op {
	case "range":
		f.rangeLen, f.rangeAlign = 1<<20, 1
		flags.Var(sizeValue(&f.rangeLen, 1, "none"), "range-size", "length of a range")
		flags.Var(sizeValue(&f.rangeAlign, 1, "none"), "range-align", "ranges begin at multiples of this")
	case "list":
		flags.IntVar(&f.pageLen, "page", 1000, "keys in a page")
	case "delete":
		flags.IntVar(&f.batch, "batch", 100, "keys in a request; 1 is a DELETE of each")
	case "mixed":
		flags.StringVar(&f.mix, "mix", "get=45,stat=30,put=15,delete=10", "how often each comes, compared with the others")
	case "multipart":
		f.partLen = 16 << 20
		flags.Var(sizeValue(&f.partLen, 1, "none"), "part-size", "size of a part")
	case "epoch":
		flags.IntVar(&f.ranks, "ranks", 1, "processes that train together, each with a share of the samples")
		flags.IntVar(&f.workers, "workers", 4, "loader workers of each rank, with a connection each")
		flags.IntVar(&f.batchLen, "batch", 32, "samples that a rank takes for a step")
		flags.IntVar(&f.prefetch, "prefetch", 2, "batches that a worker reads ahead")
		flags.Float64Var(&f.stepMS, "step-ms", 0, "how long the accelerators compute for a batch, in milliseconds")
	case "checkpoint":
		f.partLen, f.checkpointLen = 16<<20, 256<<20
		flags.IntVar(&f.writers, "writers", 4, "processes that upload an object each, with a connection each")
		flags.Var(sizeValue(&f.checkpointLen, 1, "none"), "checkpoint-size", "size of each of these objects")
		flags.Var(sizeValue(&f.partLen, 1, "none"), "part-size", "size of a part")
		flags.DurationVar(&f.every, "every", 10*time.Second, "from the beginning of a checkpoint to that of the next")
	}
}

// registerTarget adds the flags that say where the server is and what it is to keep.
func (f *benchFlags) registerTarget(flags *pflag.FlagSet) {
	flags.StringVar(&f.bucket, "bucket", "penstock-bench", "bucket to use; made if it is not there, and then removed again")
	flags.StringVar(&f.prefix, "prefix", "", "prefix of all keys (default one that no other run has)")
	flags.BoolVar(&f.keep, "keep", false, "leave what was made")
	flags.Uint64Var(&f.seed, "seed", 1, "decides bodies, sizes and order")
	flags.StringVar(&f.region, "region", fastapi.DefaultRegion, "region to sign for")
	flags.BoolVar(&f.insecure, "insecure", false, "do not check certificates")
	flags.StringVar(&f.ca, "ca", "", "file with the certificates to trust, in PEM (default those of the system)")
}

// options turns flags and arguments into what the library takes.
func (f *benchFlags) options(args []string, getenv func(string) string) (o bench.Options, err error) {
	o = bench.Options{
		Op: f.op, Bucket: f.bucket, Prefix: f.prefix, Seed: f.seed, Concurrency: f.concurrent, WarmUp: f.warmUp, Duration: f.duration,
		Objects: f.objects, Rate: f.rate, Stable: bench.Stability{Over: f.stableFor, Within: f.stablePct / 100},
		Cache: bench.CacheState(f.cache), ColdAction: f.emptyCaches, Verify: f.verify, Keep: f.keep, Reuse: f.reuse,
		Range:      bench.RangeOptions{Len: f.rangeLen, Align: f.rangeAlign},
		List:       bench.ListOptions{PageLen: f.pageLen},
		Delete:     bench.DeleteOptions{Batch: f.batch},
		Multipart:  bench.MultipartOptions{PartLen: f.partLen},
		Epoch:      bench.EpochOptions{Ranks: f.ranks, Workers: f.workers, BatchLen: f.batchLen, Prefetch: f.prefetch, Step: time.Duration(f.stepMS * float64(time.Millisecond))},
		Checkpoint: bench.CheckpointOptions{Writers: f.writers, Len: f.checkpointLen, Every: f.every},
		ServerPID:  f.serverPID, ServerCost: true,
	}
	if f.op == "epoch" {
		o.Concurrency = f.ranks * f.workers
	}
	if o.Duration == 0 && (o.Objects == 0 || f.op == "checkpoint") {
		o.Duration = 10 * time.Second
		if f.op == "checkpoint" {
			o.Duration = 3 * f.every
		}
	}
	if o.Objects == 0 {
		o.Objects = defaultObjects[f.op]
	}
	if f.reuse && f.prefix == "" {
		return o, errors.New("--reuse needs the --prefix of the run that kept the objects")
	}
	if o.Hosts, o.TLS, err = f.endpoints(args); err != nil {
		return o, err
	}
	if o.Credentials, err = benchCredentials(getenv, f.region); err != nil {
		return o, err
	}
	if o.Sizes, err = f.sizes(); err != nil {
		return o, err
	}
	if o.Mix, err = f.shares(); err != nil {
		return o, err
	}
	if o.Payload, err = f.payloadOptions(); err != nil {
		return o, err
	}
	o.Roof, err = f.roof()
	return o, err
}

// mixKinds are the parts of a mixed load, by the names of the operations.
var mixKinds = map[string]bench.Kind{"get": bench.Get, "stat": bench.Head, "put": bench.Put, "delete": bench.Delete}

func (f *benchFlags) shares() (shares []bench.Share, err error) {
	for part := range strings.SplitSeq(f.mix, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), "=")
		if name == "" {
			continue
		}
		kind, ok := mixKinds[name]
		n, err := strconv.Atoi(weight)
		if !ok || err != nil || n < 0 {
			return nil, fmt.Errorf("--mix: %q is not get, stat, put or delete, '=' and a whole number", part)
		}
		if n > 0 {
			shares = append(shares, bench.Share{Kind: kind, Weight: n})
		}
	}
	return shares, nil
}

// dropCaches is where the kernel takes orders to forget what it keeps of files.
const dropCaches = "/proc/sys/vm/drop_caches"

// emptyCaches makes the next reads cold, as the operator says, or else by dropping the page cache of this machine. A server that has a cache of its
// own still reads each object once at most.
func (f *benchFlags) emptyCaches() error {
	if f.coldCommand != "" {
		output, err := exec.Command("sh", "-c", f.coldCommand).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", f.coldCommand, err, strings.TrimSpace(string(output)))
		}
		return nil
	}
	unix.Sync() // Pages that are not written yet stay.
	if err := os.WriteFile(dropCaches, []byte("3"), 0); err != nil {
		return fmt.Errorf("%w (give a --cold-command)", err)
	}
	return nil
}

func (f *benchFlags) payloadOptions() (p client.Payload, err error) {
	if p.Mode, err = bench.ParsePayload(f.payload); err != nil {
		return p, fmt.Errorf("--payload: %w", err)
	}
	if !slices.Contains(client.Checksums, f.checksum) {
		return p, fmt.Errorf("--checksum: %q is none of %s", f.checksum, strings.Join(client.Checksums, ", "))
	}
	p.Checksum, p.ContentMD5 = f.checksum, f.contentMD5
	p.ChunkLen = f.chunkLen
	if p.ChunkLen == 0 {
		p.ChunkLen = 1 << 20
		if p.Mode.ChunksSigned() {
			p.ChunkLen = 64 << 10
		}
	}
	return p, nil
}

func (f *benchFlags) sizes() (bench.Sizes, error) {
	if f.sizeFile != "" {
		file, err := os.Open(f.sizeFile)
		if err != nil {
			return bench.Sizes{}, fmt.Errorf("--size-file: %w", err)
		}
		defer file.Close()
		return bench.ReadHistogram(f.sizeFile, file, parseSize)
	}
	from, to, ranged := strings.Cut(f.size, "-")
	low, err := parseSize(from)
	if err != nil {
		return bench.Sizes{}, fmt.Errorf("--size: %w", err)
	}
	if !ranged {
		return bench.Fixed(low), nil
	}
	high, err := parseSize(to)
	if err != nil {
		return bench.Sizes{}, fmt.Errorf("--size: %w", err)
	}
	sizes, err := bench.Between(low, high)
	if err != nil {
		return sizes, fmt.Errorf("--size: %w", err)
	}
	return sizes, nil
}

// endpoints reads the URLs of the servers: all of them are reached with TLS, or none.
func (f *benchFlags) endpoints(args []string) (hosts []string, secure *tls.Config, err error) {
	var scheme string
	for _, arg := range args {
		expanded, err := expandPattern(arg)
		if err != nil {
			return nil, nil, fmt.Errorf("endpoint %q: %w", arg, err)
		}
		for _, endpoint := range expanded {
			u, err := url.Parse(endpoint)
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
				return nil, nil, fmt.Errorf("endpoint %q is not http://host:port or https://host:port", endpoint)
			}
			if scheme != "" && u.Scheme != scheme {
				return nil, nil, errors.New("endpoints with and without TLS cannot be measured in one run")
			}
			scheme = u.Scheme
			host := u.Host
			if u.Port() == "" {
				host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[scheme])
			}
			if slices.Contains(hosts, host) {
				return nil, nil, fmt.Errorf("endpoint %s is named twice", endpoint)
			}
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		return nil, nil, errors.New("no endpoint: name at least one, such as http://127.0.0.1:9000")
	}
	if scheme == "https" {
		secure, err = f.tlsConfig()
	}
	return hosts, secure, err
}

func (f *benchFlags) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: f.insecure, MinVersion: tls.VersionTLS12}
	if f.ca == "" {
		return config, nil
	}
	pem, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca: %s has no certificate in PEM", f.ca)
	}
	return config, nil
}
