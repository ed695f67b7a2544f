package admin

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func supportRoutes() []*Route {
	return []*Route{{
		Method: "GET", Path: "/support", Name: "SupportBundle", Action: "admin:SupportBundle",
		Summary: "An archive of what helps to find out what is wrong: state, settings, log, metrics, profiles, machine. No secrets, no names of objects but those in the log.",
		Type:    "application/gzip", handle: (*API).support,
	}}
}

// A bundled file is one of the archive.
type bundled struct {
	name string
	get  func() ([]byte, error)
}

// support sends the archive. A part that cannot be had is replaced by the reason, under its name and ".missing": a bundle is asked for
// when something is wrong.
func (a *API) support(c *Call) (any, error) {
	at := time.Now().UTC()
	return Stream(func(ctx context.Context, w io.Writer) error {
		zipped := gzip.NewWriter(w)
		archive := tar.NewWriter(zipped)
		for _, f := range a.bundle(c) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			name, content := f.name, []byte(nil)
			content, err := f.get()
			if err != nil {
				name, content = name+".missing", []byte(err.Error()+"\n")
			}
			header := &tar.Header{Name: "penstock-" + at.Format("20060102T150405Z") + "/" + name, Mode: 0o600, Size: int64(len(content)), ModTime: at}
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
			if _, err := archive.Write(content); err != nil {
				return err
			}
		}
		if err := archive.Close(); err != nil {
			return err
		}
		return zipped.Close()
	}), nil
}

func (a *API) bundle(c *Call) []bundled {
	files := []bundled{
		{"info.json", asJSON(func() (any, error) { return a.info(c) })},
		{"cost.json", asJSON(func() (any, error) { return a.cost(c) })},
		{"gauges.json", asJSON(func() (any, error) { return a.opts.Store.Gauges(), nil })},
		{"settings.json", asJSON(func() (any, error) { return a.settings(c) })},
		{"log.jsonl", func() ([]byte, error) {
			p, err := a.process()
			if err != nil {
				return nil, err
			}
			return p.Log(), nil
		}},
		{"metrics.txt", a.opts.Front.Metrics},
		{"build.txt", buildText},
		{"goroutines.txt", lookup("goroutine", 2)},
		{"heap.pprof", lookup("heap", 0)},
		{"machine/kernel.txt", kernel},
	}
	for _, name := range []string{
		"/proc/meminfo", "/proc/cpuinfo", "/proc/mounts", "/proc/diskstats", "/proc/loadavg", "/proc/self/limits", "/proc/self/status",
		"/proc/self/numa_maps", "/proc/pressure/io", "/proc/pressure/cpu", "/proc/pressure/memory", "/proc/net/snmp", "/proc/net/netstat",
		"/sys/kernel/mm/transparent_hugepage/enabled", "/etc/os-release",
	} {
		files = append(files, bundled{"machine" + name, func() ([]byte, error) { return readSome(name) }})
	}
	queues, _ := filepath.Glob("/sys/block/*/queue/*") // The pattern is well-formed.
	for _, name := range queues {
		switch filepath.Base(name) {
		case "scheduler", "write_cache", "nr_requests", "rotational", "logical_block_size", "physical_block_size", "max_sectors_kb", "fua":
			files = append(files, bundled{"machine" + name, func() ([]byte, error) { return readSome(name) }})
		}
	}
	return files
}

func asJSON(get func() (any, error)) func() ([]byte, error) {
	return func() ([]byte, error) {
		v, err := get()
		if err != nil {
			return nil, err
		}
		return json.MarshalIndent(v, "", "  ")
	}
}

func lookup(profile string, verbosity int) func() ([]byte, error) {
	return func() ([]byte, error) {
		var b bytes.Buffer
		err := pprof.Lookup(profile).WriteTo(&b, verbosity)
		return b.Bytes(), err
	}
}

func buildText() ([]byte, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, fmt.Errorf("this binary does not say what it was built of")
	}
	return []byte(info.String()), nil
}

func kernel() ([]byte, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, field := range [][]byte{u.Sysname[:], u.Release[:], u.Version[:], u.Machine[:]} {
		b.WriteString(unix.ByteSliceToString(field) + "\n")
	}
	return []byte(b.String()), nil
}

// readSome reads a file of the kernel's, as far as anybody would read.
func readSome(name string) ([]byte, error) {
	const most = 1 << 20
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}
