package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"penstock/bench"
)

func newCompareCommand(p *process) *cobra.Command {
	return &cobra.Command{
		Use:   "compare BEFORE AFTER",
		Short: "Say what changed between reports",
		Long: "Say what changed from one report to another, as written by --json. Each side may be several files of the same load, joined with\n" +
			"commas: then medians are compared, and a change within the noise is \"~\".",
		Example: "  penstock bench compare old.json new.json\n  penstock bench compare old1.json,old2.json,old3.json new1.json,new2.json,new3.json",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, err := readReports(strings.Split(args[0], ","))
			if err != nil {
				return err
			}
			after, err := readReports(strings.Split(args[1], ","))
			if err != nil {
				return err
			}
			return bench.Compare(p.stdout, before, after)
		},
	}
}

func newMergeCommand(p *process) *cobra.Command {
	f := new(benchFlags)
	cmd := &cobra.Command{
		Use:     "merge REPORT...",
		Short:   "Make one report of those of several load generators",
		Long:    "Make one report of those that several load generators, loading the same servers at the same time, wrote with --json.",
		Example: "  penstock bench merge --json all.json a.json b.json",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			reports, err := readReports(args)
			if err != nil {
				return err
			}
			merged, err := bench.Merge(reports)
			if err != nil {
				return err
			}
			files, err := newBenchFiles(f)
			if err != nil {
				return err
			}
			defer files.discard()
			if err := merged.WriteTable(p.stdout); err != nil {
				return fail(err)
			}
			return fail(files.write(merged))
		},
	}
	cmd.Flags().StringVar(&f.json, "json", "", "also write the report to this file")
	cmd.Flags().StringVar(&f.csv, "csv", "", "also write the report to this file, a line for each kind of request")
	return cmd
}

func readReports(names []string) (reports []*bench.Report, err error) {
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		report, err := bench.ReadReport(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		reports = append(reports, report)
	}
	return reports, nil
}
