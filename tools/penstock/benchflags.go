package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

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

	serverPID int
	json, csv string
}

// defaultObjects are read unless told otherwise: enough to choose from, soon made.
const defaultObjects = 1000

// register adds the flags to a set: those of every operation, and those of this one.
func (f *benchFlags) register(flags *pflag.FlagSet) {
	f.size, f.payload, f.checksum, f.cache = "1MiB", "unsigned", client.Checksums[0], string(bench.AsIs)
	f.bucket, f.region = "penstock-bench", fastapi.DefaultRegion
	reads := f.op != "put"

	flags.StringVar(&f.size, "size", f.size, "size of objects, or from-to for sizes between the two")
	flags.StringVar(&f.sizeFile, "size-file", "", "file with a line for each size or from-to, and its weight")
	flags.IntVar(&f.concurrent, "concurrent", 16, "requests at a time, with a connection each")
	flags.DurationVar(&f.duration, "duration", 0, "how long to begin requests (default 10s, or with --objects until each object was had once)")
	if reads {
		flags.IntVar(&f.objects, "objects", 0, fmt.Sprintf("objects to make and choose from (default %d)", defaultObjects))
	} else {
		flags.IntVar(&f.objects, "objects", 0, "objects to upload; with --duration, upload them over and over (default a new one each time)")
	}
	flags.DurationVar(&f.warmUp, "warm-up", 0, "how long to send requests before they count")
	flags.Float64Var(&f.rate, "rate", 0, "requests a second; latencies count from when each was due (default as many as get done)")
	flags.DurationVar(&f.stableFor, "stable-for", 0, "end early when the throughput was stable for so long, six seconds at least (default never)")
	flags.Float64Var(&f.stablePct, "stable-percent", 5, "how much a stable throughput may vary")
	flags.StringVar(&f.payload, "payload", f.payload, "protection of uploads: "+strings.Join(bench.PayloadNames(), ", "))
	flags.Var(sizeValue(&f.chunkLen, 8<<10, "auto"), "chunk-size", "chunks of a body in chunks; auto is 64KiB signed, 1MiB unsigned")
	flags.StringVar(&f.checksum, "checksum", f.checksum, "checksum in the trailer: "+strings.Join(client.Checksums, ", "))
	if reads {
		flags.StringVar(&f.cache, "cache", f.cache, `state of the caches: "warm" reads each object once before, "as is" does not`)
		flags.BoolVar(&f.verify, "verify", false, "compare every byte that comes back with what was stored")
		flags.BoolVar(&f.reuse, "reuse", false, "take the objects that a run with the same prefix, seed, sizes and number kept")
	}
	if f.op == "range" {
		f.rangeLen, f.rangeAlign = 1<<20, 1
		flags.Var(sizeValue(&f.rangeLen, 1, "none"), "range-size", "length of a range")
		flags.Var(sizeValue(&f.rangeAlign, 1, "none"), "range-align", "ranges begin at multiples of this")
	}
	flags.StringVar(&f.bucket, "bucket", f.bucket, "bucket to use; made if it is not there, and then removed again")
	flags.StringVar(&f.prefix, "prefix", "", "prefix of all keys (default one that no other run has)")
	flags.BoolVar(&f.keep, "keep", false, "leave what was made")
	flags.Uint64Var(&f.seed, "seed", 1, "decides bodies, sizes and order")
	flags.StringVar(&f.region, "region", f.region, "region to sign for")
	flags.BoolVar(&f.insecure, "insecure", false, "do not check certificates")
	flags.StringVar(&f.ca, "ca", "", "file with the certificates to trust, in PEM (default those of the system)")
	flags.IntVar(&f.serverPID, "server-pid", 0, "process of the server on this machine, to report its CPU time")
	flags.StringVar(&f.json, "json", "", "also write the report to this file, for compare and merge")
	flags.StringVar(&f.csv, "csv", "", "also write the report to this file, a line for each kind of request")
}

// options turns flags and arguments into what the library takes.
func (f *benchFlags) options(args []string, getenv func(string) string) (o bench.Options, err error) {
	o = bench.Options{
		Op: f.op, Bucket: f.bucket, Prefix: f.prefix, Seed: f.seed, Concurrency: f.concurrent, WarmUp: f.warmUp, Duration: f.duration,
		Objects: f.objects, Rate: f.rate, Stable: bench.Stability{Over: f.stableFor, Within: f.stablePct / 100},
		Cache: bench.CacheState(f.cache), Verify: f.verify, Keep: f.keep, Reuse: f.reuse,
		Range:     bench.RangeOptions{Len: f.rangeLen, Align: f.rangeAlign},
		ServerPID: f.serverPID, ServerCost: true,
	}
	if o.Duration == 0 && o.Objects == 0 {
		o.Duration = 10 * time.Second
	}
	if o.Objects == 0 && f.op != "put" {
		o.Objects = defaultObjects
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
	o.Payload, err = f.payloadOptions()
	return o, err
}

func (f *benchFlags) payloadOptions() (p client.Payload, err error) {
	if p.Mode, err = bench.ParsePayload(f.payload); err != nil {
		return p, fmt.Errorf("--payload: %w", err)
	}
	if !slices.Contains(client.Checksums, f.checksum) {
		return p, fmt.Errorf("--checksum: %q is none of %s", f.checksum, strings.Join(client.Checksums, ", "))
	}
	p.Checksum = f.checksum
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
