package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"penstock/bench"
	"penstock/bench/roofline"
)

// newHostCommand measures what this machine could do at best, for later reports to be compared with.
func newHostCommand(p *process) *cobra.Command {
	var parity int
	var file string
	cmd := &cobra.Command{
		Use:   "host [flags] [DRIVE...]",
		Short: "Measure what this machine could do at best",
		Long: "Measure what a core and the drives of this machine do at best, in a few seconds, and keep it: later reports tell each result\n" +
			"as a share of what binds it. A file of 128 MiB is made in each DRIVE, written and read past caches, and removed.",
		Example: "  penstock bench host /mnt/nvme{1...6}",
		RunE: func(cmd *cobra.Command, args []string) error {
			drives, err := expandDrives(args)
			if err != nil {
				return err
			}
			o, err := hostOptions(drives, parity)
			if err != nil {
				return err
			}
			if file == "" {
				if file, err = roofline.DefaultFile(); err != nil {
					return fmt.Errorf("%w (name a file with --file)", err)
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return fail(measureHost(ctx, p, o, file))
		},
	}
	cmd.Flags().IntVar(&parity, "parity", unset, "parity drives of the servers (default as a server would choose)")
	cmd.Flags().StringVar(&file, "file", "", "where to keep what was measured (default in the cache directory of the user)")
	return cmd
}

// The geometry that is measured when no drives are named, and the widest there is.
const (
	defaultData   = 4
	defaultParity = 2
	maxWidth      = 16
)

func hostOptions(drives []string, parity int) (o roofline.Options, err error) {
	machine := bench.ThisMachine()
	o = roofline.Options{CPU: machine.CPU, Kernel: machine.Kernel, Cores: machine.Cores, Drives: drives, K: defaultData, M: defaultParity}
	if parity != unset {
		o.M = parity
	}
	if n := len(drives); n > 0 {
		switch {
		case parity != unset:
		case n == 1:
			o.M = 0
		case n <= 3:
			o.M = 1
		case n > 11:
			o.M = 4
		}
		o.K = min(n, maxWidth) - o.M
	}
	if o.M < 0 || o.K < 1 || o.K+o.M > maxWidth {
		return o, fmt.Errorf("--parity %d does not go with %s", parity, plural(len(drives), "drive"))
	}
	return o, nil
}

func measureHost(ctx context.Context, p *process, o roofline.Options, file string) error {
	host, err := roofline.Measure(ctx, o)
	if err != nil {
		return err
	}
	if err := host.WriteTable(p.stdout); err != nil {
		return err
	}
	return host.Save(file)
}

// roof finds out what the machine of the servers could do: as measured there, or before on this machine.
func (f *benchFlags) roof() (roof bench.Roof, err error) {
	roof.Cores = f.serverCores
	if roof.Cores == 0 && f.serverPID > 0 {
		var set unix.CPUSet
		if unix.SchedGetaffinity(f.serverPID, &set) == nil {
			roof.Cores = float64(set.Count())
		}
	}
	if f.host != "" {
		roof.Host, err = roofline.Load(f.host)
		if err != nil {
			return roof, fmt.Errorf("--host: %w", err)
		}
		return roof, nil
	}
	file, err := roofline.DefaultFile()
	if err != nil {
		return roof, nil // No home: nothing was kept.
	}
	host, err := roofline.Load(file)
	switch machine := bench.ThisMachine(); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return roof, err
	case host.CPU == machine.CPU && host.Kernel == machine.Kernel: // Else it was another machine, or this one with other limits.
		roof.Host = host
	}
	return roof, nil
}
