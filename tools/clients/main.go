package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"penstock/tools/clients/corpus"
	"penstock/tools/harness"
)

// Limits of one client. Installing PyTorch takes minutes on a fast line; a script that runs longer than this hangs.
const (
	installLimit = 30 * time.Minute
	scriptLimit  = 10 * time.Minute
)

func main() {
	ci := flag.Bool("ci", false, "only clients that install in a few minutes")
	list := flag.Bool("list", false, "list the clients and end")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: clients [-ci] [-list] [CLIENT...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	chosen, err := choose(flag.Args(), *ci)
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(2)
	}
	if *list {
		for _, c := range chosen {
			fmt.Println(c.name)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	failed, err := runAll(ctx, chosen, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// choose returns the clients of the given names, or all, less those too large for ci.
func choose(names []string, ci bool) ([]client, error) {
	var chosen []client
	for _, c := range clients {
		if len(names) == 0 && (c.ci || !ci) || slices.Contains(names, c.name) {
			chosen = append(chosen, c)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(clients, func(c client) bool { return c.name == name }) {
			return nil, fmt.Errorf("no client %q; see -list", name)
		}
	}
	return chosen, nil
}

// A result is a line of the table.
type result struct {
	client  client
	version string
	verdict string // passed, FAILED or not run.
	reason  string
	took    time.Duration
}

// runAll installs and runs the clients one after another, prints the table, and returns how many failed.
func runAll(ctx context.Context, chosen []client, w io.Writer) (failed int, err error) {
	root, err := harness.Root()
	if err != nil {
		return 0, err
	}
	cache := filepath.Join(root, ".cache", "clients")
	work, err := os.MkdirTemp("", "penstock-clients-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	corpusDir := filepath.Join(work, "corpus")
	if err := writeCorpus(corpusDir); err != nil {
		return 0, err
	}
	binary, err := harness.Build(ctx)
	if err != nil {
		return 0, err
	}
	var results []result
	for i, c := range chosen {
		r := &runner{client: c, source: filepath.Join(root, "tools", "clients", c.directory()), cache: cache,
			work: filepath.Join(work, fmt.Sprint(i)), corpus: corpusDir, binary: binary, w: w}
		res := r.run(ctx)
		if res.verdict == "FAILED" {
			failed++
		}
		fmt.Fprintf(w, "%s: %s %s\n", c.name, res.verdict, res.reason)
		results = append(results, res)
		if ctx.Err() != nil {
			return failed, ctx.Err()
		}
	}
	return failed, printTable(w, results)
}

func printTable(w io.Writer, results []result) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "\nCLIENT\tVERSION\tRESULT\tSECONDS\t\n")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%s\t%s\t%.1f\t%s\n", r.client.name, r.version, r.verdict, r.took.Seconds(), r.reason)
	}
	return table.Flush()
}

func (c client) directory() string {
	if c.dir != "" {
		return c.dir
	}
	return c.name
}

// A runner takes one client through installation, a node of its own, and its script.
type runner struct {
	client client
	source string // Directory of the script.
	cache  string
	work   string
	corpus string
	binary string
	w      io.Writer
}

func (r *runner) run(ctx context.Context) result {
	res := result{client: r.client, version: "-"}
	installing, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	if err := os.MkdirAll(r.cache, 0o755); err != nil {
		res.verdict, res.reason = "not run", err.Error()
		return res
	}
	version, path, err := r.client.install.install(installing, r.cache, r.source)
	if err != nil {
		res.verdict, res.reason = "not run", err.Error()
		return res
	}
	res.version = version
	begun := time.Now()
	err = r.runScript(ctx, path)
	res.took = time.Since(begun)
	res.verdict = "passed"
	if err != nil {
		res.verdict, res.reason = "FAILED", err.Error()
	}
	return res
}

// runScript starts a node, runs the client's script against it, and stops the node. What the script prints is shown when it fails.
func (r *runner) runScript(ctx context.Context, path []string) error {
	drives, err := harness.Drives(filepath.Join(r.work, "drives"), 6)
	if err != nil {
		return err
	}
	node, err := harness.Start(ctx, harness.Options{Binary: r.binary, Drives: drives, Args: []string{"--memory", "512MiB"}})
	if err != nil {
		return err
	}
	defer node.Kill() // When something below fails; a node that has stopped stays so.
	ctx, cancel := context.WithTimeout(ctx, scriptLimit)
	defer cancel()
	scratch := filepath.Join(r.work, "scratch")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, lookUp(r.client.script[0], path), r.arguments()...)
	cmd.Dir = r.source
	cmd.Env = append(withoutAWS(os.Environ()),
		"PATH="+strings.Join(append(slices.Clone(path), os.Getenv("PATH")), string(os.PathListSeparator)),
		"AWS_ENDPOINT_URL="+node.Endpoint, "AWS_ACCESS_KEY_ID="+harness.AccessKey, "AWS_SECRET_ACCESS_KEY="+harness.SecretKey,
		"AWS_DEFAULT_REGION=us-east-1", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", // The operator's own must not leak in.
		"BUCKET=client-"+r.client.directory(), "CORPUS="+r.corpus, "WORK="+scratch, "CACHE="+r.cache,
		"PYTHONPATH="+filepath.Join(filepath.Dir(r.source), "python"), "PYTHONDONTWRITEBYTECODE=1", "HOME="+scratch,
	)
	// A script's own children go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		fmt.Fprintf(r.w, "--- %s\n%s\n--- the node's log\n%s\n", r.client.name, tail(string(out), 8000), tail(node.Log(), 4000))
		return err
	}
	_, err = node.Stop()
	return err
}

// withoutAWS leaves out what the operator has set for a store of their own.
func withoutAWS(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, "AWS_") })
}

// arguments are those of the script, with jars/ made a directory of the cache.
func (r *runner) arguments() []string {
	args := slices.Clone(r.client.script[1:])
	for i, arg := range args {
		if rest, ok := strings.CutPrefix(arg, "jars/"); ok {
			args[i] = filepath.Join(r.cache, "maven-"+filepath.Base(r.source), "jars", rest)
		}
	}
	return args
}

// lookUp finds a program in the client's own directories first.
func lookUp(program string, path []string) string {
	for _, dir := range path {
		if candidate := filepath.Join(dir, program); isExecutable(candidate) {
			return candidate
		}
	}
	return program
}

func isExecutable(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}

// writeCorpus writes the corpus as files, for scripts in any language.
func writeCorpus(dir string) error {
	for _, sub := range []string{"sizes", "tree/sub dir/+plus & ampersand"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	for i, size := range append(slices.Clone(corpus.Sizes), corpus.LargeLen) {
		if err := os.WriteFile(filepath.Join(dir, "sizes", fmt.Sprint(size)), corpus.Body(uint64(i), size), 0o644); err != nil {
			return err
		}
	}
	for i, name := range []string{
		"empty", "small.txt", "percent%2Fname", "100%", "emoji-😀", "caf\u00e9", "sub dir/a+b=c", "sub dir/+plus & ampersand/x'y",
		"semi;colon,comma", "sub dir/.hidden", "question?mark#hash", "large",
	} {
		size := 1000 * i
		if name == "large" {
			size = 20 << 20
		}
		if err := os.WriteFile(filepath.Join(dir, "tree", name), corpus.Body(uint64(1000+i), size), 0o644); err != nil {
			return err
		}
	}
	keys, err := json.Marshal(corpus.Keys)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "keys.json"), keys, 0o644)
}
