package doctor

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"penstock/numa"
)

// Severity says what a finding asks for.
type Severity int

const (
	Good    Severity = iota // Nothing.
	Notice                  // Nothing yet: good to know.
	Warning                 // A look: it will be slow, or survive less than it could.
	Failure                 // Repair: it will not run, or lose what a power cut should not take.
)

var severityNames = [...]string{"good", "notice", "warning", "failure"}

// String returns the name.
func (s Severity) String() string { return severityNames[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is what one check saw.
type Finding struct {
	Check    string   `json:"check"` // What was looked at, such as "clock", or a drive's path.
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`             // What is.
	Advice   string   `json:"advice,omitempty"` // What would be right; "" where all is.
}

// Options say what to look at.
type Options struct {
	Drives     []string // Directories.
	Interfaces []string // Of the network; none means all that are up and are hardware.
	Memory     int64    // Bytes that the node will lock for its buffers.

	System System // What to ask; the zero value is this machine.
}

// Examine carries out every check.
func Examine(o Options) []Finding {
	e := &examination{o: o, sys: o.System}
	e.sys.setDefaults()
	if topology, err := numa.Read(e.sys.Sys); err == nil {
		e.topology = topology
	}
	e.kernel()
	e.limits()
	e.clock()
	e.memory()
	e.processor()
	e.drives()
	e.network()
	e.placement()
	return e.findings
}

// Worst returns the severity that asks for most.
func Worst(findings []Finding) Severity {
	worst := Good
	for _, f := range findings {
		worst = max(worst, f.Severity)
	}
	return worst
}

type examination struct {
	o        Options
	sys      System
	topology numa.Topology
	findings []Finding

	driveNodes, interfaceNodes map[string]int // Where each is, as far as the machine tells.
}

func (e *examination) good(check, format string, args ...any) {
	e.findings = append(e.findings, Finding{Check: check, Text: fmt.Sprintf(format, args...)})
}

func (e *examination) found(s Severity, check, text, advice string) {
	e.findings = append(e.findings, Finding{check, s, text, advice})
}

// read returns a file of /proc or /sys without the space around it, "" if there is none.
func read(root fs.FS, name string) string {
	content, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// number reads a file that holds one; ok is false if it does not.
func number(root fs.FS, name string) (n int64, ok bool) {
	n, err := strconv.ParseInt(read(root, name), 10, 64)
	return n, err == nil
}

// chosen is the word in brackets of a file such as "always [madvise] never", or all of it.
func chosen(text string) string {
	if _, rest, ok := strings.Cut(text, "["); ok {
		word, _, _ := strings.Cut(rest, "]")
		return word
	}
	return text
}

// gib writes bytes for people.
func gib(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// Sort puts the findings that ask for most first, and leaves the order otherwise.
func Sort(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
}
