//go:build linux

package numa

import (
	"fmt"
	"strconv"
	"strings"
)

// maxCPU bounds the CPU numbers a list may name, so that a damaged file cannot make us allocate
// without end. Linux itself stops at 8,192.
const maxCPU = 1 << 16

// ParseCPUList reads the kernel's list format: numbers and inclusive ranges separated by commas, such
// as "0-3,8,10-11". The empty list is what a NUMA node without CPUs has.
func ParseCPUList(s string) ([]int, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, nil
	}
	var cpus []int
	for item := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(item, "-")
		if !isRange {
			last = first
		}
		lo, err := parseCPU(first)
		if err != nil {
			return nil, fmt.Errorf("cpu list %q: %w", s, err)
		}
		hi, err := parseCPU(last)
		if err != nil {
			return nil, fmt.Errorf("cpu list %q: %w", s, err)
		}
		if hi < lo || (len(cpus) > 0 && lo <= cpus[len(cpus)-1]) {
			return nil, fmt.Errorf("cpu list %q: %q is out of order", s, item)
		}
		for cpu := lo; cpu <= hi; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

func parseCPU(s string) (int, error) {
	// The kernel writes plain digits; Atoi would also take a sign.
	cpu, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, err
	}
	if cpu >= maxCPU {
		return 0, fmt.Errorf("cpu %d is past %d", cpu, maxCPU)
	}
	return int(cpu), nil
}

// FormatCPUList is the inverse of [ParseCPUList] for an ascending list.
func FormatCPUList(cpus []int) string {
	var b strings.Builder
	for i := 0; i < len(cpus); {
		end := i
		for end+1 < len(cpus) && cpus[end+1] == cpus[end]+1 {
			end++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(cpus[i]))
		if end > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(cpus[end]))
		}
		i = end + 1
	}
	return b.String()
}
