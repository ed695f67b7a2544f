package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/klauspost/cpuid/v2"
	"github.com/spf13/cobra"
)

// Set by the linker, see the Makefile; empty in a build by hand.
var (
	version string
	commit  string
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what this processor has for erasure coding",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fail(printVersion(cmd.OutOrStdout()))
		},
	}
}

func printVersion(w io.Writer) error {
	_, err := fmt.Fprintf(w, "penstock %s\ncommit   %s\ngo       %s %s/%s\ncpu      %s\nsimd     %s\n",
		versionName(), commitName(), runtime.Version(), runtime.GOOS, runtime.GOARCH, cpuName(), simdName())
	return err
}

func versionName() string {
	if version == "" {
		return "development"
	}
	return version
}

// commitName is the commit the linker was told, or the one the Go tool found.
func commitName() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				return setting.Value
			}
		}
	}
	return "unknown"
}

func cpuName() string {
	name := cpuid.CPU.BrandName
	if name == "" {
		name = "unknown"
	}
	return fmt.Sprintf("%s, %d threads", name, runtime.NumCPU())
}

// simdFeatures are those that Reed-Solomon, CRC64NVME, SHA-256 and AES have code for, widest first.
var simdFeatures = []cpuid.FeatureID{
	cpuid.GFNI, cpuid.AVX512F, cpuid.AVX512BW, cpuid.VPCLMULQDQ, cpuid.AVX2, cpuid.SSSE3, cpuid.CLMUL, cpuid.SHA, cpuid.AESNI,
	cpuid.ASIMD, cpuid.PMULL, cpuid.SHA2, cpuid.AESARM,
}

func simdName() string {
	var names []string
	for _, feature := range simdFeatures {
		if cpuid.CPU.Supports(feature) {
			names = append(names, feature.String())
		}
	}
	if len(names) == 0 {
		return "none: erasure coding will be slow"
	}
	return strings.Join(names, " ")
}
