package roofline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"penstock/fastapi/md5lanes"
)

// A Host is what a machine can do at best.
type Host struct {
	Format   string    `json:"format"`
	Measured time.Time `json:"measured"`
	CPU      string    `json:"cpu"`
	Cores    int       `json:"cores"` // Those that the process might use.
	Kernel   string    `json:"kernel"`

	// What a core does: bytes a second of its time.
	Copy    float64 `json:"copy"`    // Memory to memory, from one place that is in no cache to another.
	Encode  float64 `json:"encode"`  // Reed-Solomon, user bytes of K + M in the cache.
	CRC64   float64 `json:"crc64"`   // CRC64NVME.
	MD5     float64 `json:"md5"`     // One stream.
	MD5Many float64 `json:"md5many"` // MD5Lanes streams at once, each with its own digest.
	SHA256  float64 `json:"sha256"`
	AESGCM  float64 `json:"aesgcm"` // TLS records of 16 KiB.
	Send    float64 `json:"send"`   // Into a loopback socket; the work of its other end for the kernel is in it.
	Receive float64 `json:"receive"`

	Exchange float64 `json:"exchange_s"` // CPU time of a core for a request of 300 bytes and an answer of 300, on the answering side.

	K int `json:"k"`
	M int `json:"m"`

	Drives []Drive `json:"drives,omitempty"`
}

// A Drive is what one drive did while the others did the same.
type Drive struct {
	Write      float64       `json:"write"`       // Bytes a second, durable, sequential.
	Read       float64       `json:"read"`        // Bytes a second, sequential.
	RandomRead float64       `json:"random_read"` // Reads of 4 KiB a second, at depth.
	SmallWrite float64       `json:"small_write"` // Durable writes of 4 KiB a second, at depth.
	Lone       time.Duration `json:"lone_write"`  // How long one durable write of 4 KiB takes, with nothing else going on.
	Buffered   bool          `json:"buffered"`    // The file system has no direct I/O: caches are in these figures.
}

// MD5Lanes is how many streams MD5Many hashes at once.
const MD5Lanes = md5lanes.Lanes

const format = "penstock-host-1"

// Options say what to measure.
type Options struct {
	CPU, Kernel string        // Of the machine, for the record.
	Cores       int           // Likewise.
	Drives      []string      // Directories; a file is made in each, and removed.
	DriveLen    int64         // Of that file; 0 = 128 MiB.
	K, M        int           // Of the code.
	ColdLen     int           // Memory that stays in no cache; 0 = 512 MiB.
	Time        time.Duration // Of each measurement; 0 = 200 ms.
}

// Measure measures this machine.
func Measure(ctx context.Context, o Options) (*Host, error) {
	if o.Time == 0 {
		o.Time = 200 * time.Millisecond
	}
	if o.ColdLen == 0 {
		o.ColdLen = 512 << 20
	}
	if o.DriveLen == 0 {
		o.DriveLen = 128 << 20
	}
	h := &Host{Format: format, Measured: time.Now(), CPU: o.CPU, Cores: o.Cores, Kernel: o.Kernel, K: o.K, M: o.M}
	if err := h.measureCPU(ctx, o.Time, o.ColdLen); err != nil {
		return nil, err
	}
	if err := h.measureSockets(ctx, o.Time); err != nil {
		return nil, fmt.Errorf("sockets: %w", err)
	}
	if len(o.Drives) > 0 {
		if err := h.measureDrives(ctx, o); err != nil {
			return nil, fmt.Errorf("drives: %w", err)
		}
	}
	return h, nil
}

// Total sums what all drives did at once.
func (h *Host) Total() (t Drive) {
	for _, d := range h.Drives {
		t.Write += d.Write
		t.Read += d.Read
		t.RandomRead += d.RandomRead
		t.SmallWrite += d.SmallWrite
		t.Lone = max(t.Lone, d.Lone)
		t.Buffered = t.Buffered || d.Buffered
	}
	return t
}

// WriteTable writes the ceilings for people.
func (h *Host) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s, %d cores, %s\n\n", h.CPU, h.Cores, h.Kernel)
	fmt.Fprint(table, "a core\tGiB/s\ts a GiB\tcores for 100 GbE\n")
	for _, row := range []struct {
		name string
		rate float64
	}{
		{"copy memory", h.Copy}, {fmt.Sprintf("Reed-Solomon %d+%d", h.K, h.M), h.Encode}, {"CRC64NVME", h.CRC64}, {"MD5", h.MD5},
		{fmt.Sprintf("MD5, %d streams", MD5Lanes), h.MD5Many}, {"SHA-256", h.SHA256}, {"AES-128-GCM", h.AESGCM}, {"socket send", h.Send},
		{"socket receive", h.Receive},
	} {
		fmt.Fprintf(table, "%s\t%.2f\t%.3f\t%.1f\n", row.name, row.rate/(1<<30), SecondsPerGiB(row.rate), LineRate/row.rate)
	}
	fmt.Fprintf(table, "small request and answer\t\t%.1f µs each\n", h.Exchange*1e6)
	if len(h.Drives) > 0 {
		fmt.Fprint(table, "\ndrive\twrite MiB/s\tread MiB/s\t4 KiB reads/s\t4 KiB durable writes/s\tone durable write\n")
		for i, d := range h.Drives {
			driveRow(table, fmt.Sprint(i+1), d)
		}
		driveRow(table, "all at once", h.Total())
	}
	return table.Flush()
}

func driveRow(table io.Writer, name string, d Drive) {
	if d.Buffered {
		name += " (no direct I/O)"
	}
	fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%v\n", name, d.Write/(1<<20), d.Read/(1<<20), d.RandomRead, d.SmallWrite, d.Lone.Round(time.Microsecond))
}

// LineRate is 100 GbE in bytes a second.
const LineRate = 12.5e9

// SecondsPerGiB is the CPU time that a rate takes for a GiB.
func SecondsPerGiB(rate float64) float64 { return (1 << 30) / rate }

// DefaultFile is where a Host is kept for later reports.
func DefaultFile() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "penstock", "host.json"), nil
}

// Save writes the Host to a file, whole or not at all.
func (h *Host) Save(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".host-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // Fails once it has its name.
	encoder := json.NewEncoder(tmp)
	encoder.SetIndent("", " ")
	if err := errors.Join(encoder.Encode(h), tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

// Load reads what Save wrote.
func Load(name string) (*Host, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	h := new(Host)
	if err := json.Unmarshal(b, h); err != nil || h.Format != format {
		return nil, fmt.Errorf("%s holds no measurements of a host", name)
	}
	for _, rate := range []float64{h.Copy, h.Encode, h.CRC64, h.MD5, h.MD5Many, h.SHA256, h.AESGCM, h.Send, h.Receive, h.Exchange} {
		if !(rate > 0) {
			return nil, fmt.Errorf("%s holds no measurements of a host: one is %v", name, rate)
		}
	}
	return h, nil
}
