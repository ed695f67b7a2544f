package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// An installer brings a client into a directory of the cache. Its error says why the client cannot be run here.
type installer interface {
	// install returns the version, and the directories to put first in PATH.
	install(ctx context.Context, cache, source string) (version string, path []string, err error)
}

// stampName records what an environment was made from: it is made anew when that changes.
const stampName = ".installed"

// prepare makes dir with build unless it holds what was asked for already.
func prepare(dir, want string, build func() error) error {
	stamp := filepath.Join(dir, stampName)
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := build(); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(want), 0o644)
}

// need says that a program is not there.
func need(programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("needs %s", p)
		}
	}
	return nil
}

// command runs a program in a directory and returns its output; the error holds the last line of it that says something.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		lines := strings.FieldsFunc(stdout.String()+"\n"+stderr.String(), func(r rune) bool { return r == '\n' })
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
		if len(lines) > 0 {
			return "", fmt.Errorf("%s: %w: %s", filepath.Base(name), err, lines[len(lines)-1])
		}
		return "", fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// pypi installs into a virtual environment.
type pypi struct {
	pkg  string
	with []string // More packages.
	env  string   // Name of an environment that clients share; they list the same packages. "" = the client's own.
}

func (p pypi) install(ctx context.Context, cache, _ string) (string, []string, error) {
	if err := need("python3"); err != nil {
		return "", nil, err
	}
	packages := append([]string{p.pkg}, p.with...)
	slices.Sort(packages)
	packages = slices.Compact(packages)
	name := p.env
	if name == "" {
		name = "pypi-" + strings.Join(packages, "-")
	}
	dir := filepath.Join(cache, name)
	python := filepath.Join(dir, "bin", "python")
	err := prepare(dir, strings.Join(packages, " "), func() error {
		if _, err := command(ctx, cache, "python3", "-m", "venv", dir); err != nil {
			return err
		}
		_, err := command(ctx, cache, python, append([]string{"-m", "pip", "install", "--quiet", "--upgrade"}, packages...)...)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	version, err := command(ctx, cache, python, "-c", "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))", p.pkg)
	return version, []string{filepath.Join(dir, "bin")}, err
}

// npm installs into a node_modules of its own, from where scripts import by way of a link beside them.
type npm struct {
	pkg  string
	with []string
}

func (n npm) install(ctx context.Context, cache, source string) (string, []string, error) {
	if err := need("node", "npm"); err != nil {
		return "", nil, err
	}
	packages := append([]string{n.pkg}, n.with...)
	dir := filepath.Join(cache, "npm-"+filepath.Base(source))
	err := prepare(dir, strings.Join(packages, " "), func() error {
		if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte("{\"private\": true}\n"), 0o644); err != nil {
			return err
		}
		_, err := command(ctx, dir, "npm", append([]string{"install", "--silent", "--no-audit", "--no-fund"}, packages...)...)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	version, err := command(ctx, dir, "node", "-p", fmt.Sprintf("require('./node_modules/%s/package.json').version", n.pkg))
	return version, nil, err
}

// maven resolves the dependencies of the pom.xml beside the script into jars/.
type maven struct{ pkg string }

func (m maven) install(ctx context.Context, cache, source string) (string, []string, error) {
	if err := need("java", "javac", "mvn"); err != nil {
		return "", nil, err
	}
	pom, err := os.ReadFile(filepath.Join(source, "pom.xml"))
	if err != nil {
		return "", nil, err
	}
	dir := filepath.Join(cache, "maven-"+filepath.Base(source))
	err = prepare(dir, string(pom), func() error {
		_, err := command(ctx, source, "mvn", "--batch-mode", "--quiet", "-Dstyle.color=never", "dependency:copy-dependencies",
			"-DoutputDirectory="+filepath.Join(dir, "jars"), "-DincludeScope=runtime")
		return err
	})
	if err != nil {
		return "", nil, err
	}
	_, artifact, _ := strings.Cut(m.pkg, ":")
	jars, err := filepath.Glob(filepath.Join(dir, "jars", artifact+"-[0-9]*.jar"))
	if err != nil || len(jars) != 1 {
		return "", nil, fmt.Errorf("%s is not among the jars", m.pkg)
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(jars[0]), artifact+"-"), ".jar"), nil, nil
}

// debian takes a program from the system if it is there, else unpacks its package, which needs no root. It serves
// programs that depend on nothing but the C library.
type debian struct{ pkg string }

func (d debian) install(ctx context.Context, cache, _ string) (string, []string, error) {
	if _, err := exec.LookPath(d.pkg); err == nil {
		version, err := d.version(ctx, d.pkg)
		return version, nil, err
	}
	if err := need("apt-get", "dpkg-deb"); err != nil {
		return "", nil, err
	}
	dir := filepath.Join(cache, "debian-"+d.pkg)
	err := prepare(dir, d.pkg, func() error {
		if _, err := command(ctx, dir, "apt-get", "download", d.pkg); err != nil {
			return err
		}
		packages, err := filepath.Glob(filepath.Join(dir, d.pkg+"_*.deb"))
		if err != nil || len(packages) != 1 {
			return errors.New("apt-get left no package")
		}
		_, err = command(ctx, dir, "dpkg-deb", "-x", packages[0], dir)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	bin := filepath.Join(dir, "usr", "bin")
	version, err := d.version(ctx, filepath.Join(bin, d.pkg))
	return version, []string{bin}, err
}

// version takes the first word that begins with a digit out of what the program says of itself.
func (d debian) version(ctx context.Context, program string) (string, error) {
	text, err := command(ctx, "", program, "version")
	if err != nil {
		return "", err
	}
	for _, word := range strings.Fields(text) {
		word = strings.TrimPrefix(word, "v")
		if word != "" && word[0] >= '0' && word[0] <= '9' {
			return word, nil
		}
	}
	return "", fmt.Errorf("%s does not say its version", d.pkg)
}
