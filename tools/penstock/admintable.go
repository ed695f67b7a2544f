package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// printTable prints rows in columns below a heading.
func printTable(w io.Writer, heading string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(heading, " ", "\t"))
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// printFields prints names and values, those that have one.
func printFields(w io.Writer, fields ...string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i < len(fields); i += 2 {
		if fields[i+1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", fields[i], fields[i+1])
		}
	}
	return t.Flush()
}

// listed is a list of names as a table has it.
func listed(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}

func enabled(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

func dated(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}

// segment is a name as a path of the API has it.
func segment(name string) string { return url.PathEscape(name) }

// readPolicy reads a document from a file, or with "-" from the standard input. The node says what is wrong inside it.
func readPolicy(name string, stdin io.Reader) (json.RawMessage, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		return nil, fmt.Errorf("%s is not JSON", name)
	}
	return text, nil
}

// parseEnd reads when something ends: a time, a date, or how long from now.
func parseEnd(text string, now time.Time) (*time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return &t, nil
		}
	}
	d, err := parseDays(text)
	if err != nil || d <= 0 {
		return nil, fmt.Errorf("%q is no time such as 2030-01-31, 2030-01-31T12:00:00Z, 90d or 12h", text)
	}
	t := now.Add(d).UTC()
	return &t, nil
}

// parseDays is time.ParseDuration that also knows days.
func parseDays(text string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		d, err := time.ParseDuration(number + "h")
		if d > 100*365*time.Hour || d < 0 {
			return 0, fmt.Errorf("%q is out of range", text)
		}
		return 24 * d, err
	}
	return time.ParseDuration(text)
}
