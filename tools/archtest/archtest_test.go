package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"penstock/tools/harness"
)

const module = "penstock"

// A row is a line of the table of packages.
type row struct {
	name  string
	any   bool     // May import every package of the module.
	may   []string // Of this module.
	alone []string // Last elements of modules that no other package imports …
	but   []string // … except these packages of theirs, which anybody may.
}

// A file is a parsed source file.
type file struct {
	name    string // Relative to the root.
	pkg     string // Directory.
	test    bool
	syntax  *ast.File
	imports []string
}

// owner is the row of the table that a file belongs to: sub-packages belong to theirs.
func (f file) owner() string {
	top, _, _ := strings.Cut(f.pkg, "/")
	return top
}

var quoted = regexp.MustCompile("`([^`]+)`")

// parseTable reads the table under "The map". A row reads
//
//	| `name` | its one job | what it may import | what it alone imports |
//
// where the third cell is "–", "any", names in backquotes, or "the four above", and the fourth "–", or names, with
// "but for" before those that are excepted.
func parseTable(page string) ([]row, error) {
	var rows []row
	counts := map[string]int{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
	_, table, found := strings.Cut(page, "## The map")
	if !found {
		return nil, fmt.Errorf("no section %q", "The map")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		r := row{name: quoted.FindStringSubmatch(cells[1])[1]}
		switch may := strings.TrimSpace(cells[3]); {
		case may == "any":
			r.any = true
		case may == "–":
		case strings.HasPrefix(may, "the ") && strings.HasSuffix(may, " above"):
			n := counts[strings.Fields(may)[1]]
			if n == 0 || n > len(rows) {
				return nil, fmt.Errorf("row %s: %q", r.name, may)
			}
			for _, above := range rows[len(rows)-n:] {
				r.may = append(r.may, above.name)
			}
		default:
			r.may = names(may)
			if len(r.may) == 0 {
				return nil, fmt.Errorf("row %s: %q", r.name, may)
			}
		}
		alone, but, _ := strings.Cut(cells[4], "but for")
		r.alone, r.but = names(alone), names(but)
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no rows under %q", "The map")
	}
	return rows, nil
}

// names returns what stands in backquotes.
func names(cell string) (all []string) {
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestParseTable(t *testing.T) {
	rows, err := parseTable("## The map\n| A | B | C | D |\n|---|---|---|---|\n| `a` | x | – | `pebble` but for its `vfs` |\n| `b` | x | `a` | – |\n| `c` | x | the two above | – |\n| `d` | x | any | – |\n\n## Next\n| `e` | x | – | – |\n")
	want := "[{a false [] [pebble] [vfs]} {b false [a] [] []} {c false [a b] [] []} {d true [] [] []}]"
	if got := fmt.Sprint(rows); err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	for _, page := range []string{"", "## The map\n", "## The map\n| `a` | x | the nine above | – |\n", "## The map\n| `a` | x | whatever | – |\n"} {
		if rows, err := parseTable(page); err == nil {
			t.Errorf("%q: got %v; want an error", page, rows)
		}
	}
}

// readTree parses every Go file of the repository, whatever its build tags.
func readTree(t *testing.T) (root string, files []file) {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if rel != "." && (strings.HasPrefix(entry.Name(), ".") || rel == "data" || rel == "bin" || entry.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		f := file{name: rel, pkg: path.Dir(filepath.ToSlash(rel)), test: strings.HasSuffix(rel, "_test.go"), syntax: syntax}
		for _, spec := range syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, imported)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found %d Go files; that is not the repository", len(files))
	}
	return root, files
}

// TestImports draws the import graph and compares it with the table. Test files are exempt: they put packages
// together as the program does.
func TestImports(t *testing.T) {
	root, files := readTree(t)
	page, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parseTable(string(page))
	if err != nil {
		t.Fatalf("ARCHITECTURE.md: %v", err)
	}
	byName := map[string]row{}
	for _, r := range rows {
		byName[r.name] = r
	}
	for _, f := range files {
		r, ok := byName[f.owner()]
		if !ok {
			t.Errorf("%s: %q has no row in the table of packages", f.name, f.owner())
			continue
		}
		if f.test {
			continue
		}
		for _, imported := range f.imports {
			if err := judge(rows, r, imported); err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
		}
	}
}

// judge says why a package of row r may not import a path, or nil.
func judge(rows []row, r row, imported string) error {
	if rest, ok := strings.CutPrefix(imported, module+"/"); ok {
		target, _, _ := strings.Cut(rest, "/")
		if target != r.name && !r.any && !slices.Contains(r.may, target) {
			return fmt.Errorf("imports %s, and %s may import %v", imported, r.name, r.may)
		}
		return nil
	}
	for _, other := range rows {
		for _, alone := range other.alone {
			if other.name != r.name && !r.any && slices.Contains(strings.Split(imported, "/"), alone) && !slices.Contains(other.but, path.Base(imported)) {
				return fmt.Errorf("imports %s, which %s alone imports", imported, other.name)
			}
		}
	}
	return nil
}

func TestJudge(t *testing.T) {
	rows := []row{{name: "meta", alone: []string{"pebble"}, but: []string{"vfs"}}, {name: "engine", may: []string{"meta"}}, {name: "tools", any: true}}
	for _, c := range []struct {
		from, imported string
		ok             bool
	}{
		{"engine", "penstock/meta", true},
		{"engine", "penstock/engine/drive", true},
		{"meta", "penstock/engine", false},
		{"meta", "penstock/engine/drive", false},
		{"tools", "penstock/engine", true},
		{"meta", "github.com/cockroachdb/pebble/v2", true},
		{"engine", "github.com/cockroachdb/pebble/v2/sstable", false},
		{"engine", "github.com/cockroachdb/pebble/v2/vfs", true},
		{"engine", "github.com/cockroachdb/pebbles", true},
		{"engine", "fmt", true},
	} {
		r := rows[slices.IndexFunc(rows, func(r row) bool { return r.name == c.from })]
		if err := judge(rows, r, c.imported); (err == nil) != c.ok {
			t.Errorf("%s importing %s: %v; want allowed %v", c.from, c.imported, err, c.ok)
		}
	}
}

// TestHouseRules looks for what no package may do.
func TestHouseRules(t *testing.T) {
	_, files := readTree(t)
	commented := map[string]bool{}
	for _, f := range files {
		commented[f.pkg] = commented[f.pkg] || f.syntax.Doc.Text() != ""
		base := path.Base(f.name)
		if slices.Contains([]string{"util.go", "utils.go", "common.go", "helpers.go", "types.go", "misc.go"}, base) {
			t.Errorf("%s: the noun is still missing", f.name)
		}
		if slices.Contains(f.imports, "C") {
			t.Errorf("%s uses cgo", f.name)
		}
		for _, spec := range f.syntax.Imports {
			if spec.Name != nil && spec.Name.Name == "." {
				t.Errorf("%s: import of %s into the file's own names", f.name, spec.Path.Value)
			}
		}
		for _, group := range f.syntax.Comments {
			if word := unfinished.FindString(group.Text()); word != "" {
				t.Errorf("%s: a comment says %q", f.name, word)
			}
		}
		if f.test || f.owner() == "tools" {
			continue
		}
		if slices.Contains(f.imports, "log") {
			t.Errorf("%s imports log; what is logged goes through log/slog", f.name)
		}
		for _, call := range callsOf(f.syntax, forbidden) {
			t.Errorf("%s calls %s: %s", f.name, call, forbidden[call])
		}
	}
	for pkg, ok := range commented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

// forbidden are calls that only tools may make, and why.
var forbidden = map[string]string{
	"fmt.Print":    "output belongs to tools",
	"fmt.Printf":   "output belongs to tools",
	"fmt.Println":  "output belongs to tools",
	"os.Exit":      "only the program decides when it ends",
	"os.Getenv":    "the environment is read in tools alone",
	"os.LookupEnv": "the environment is read in tools alone",
	"flag.Parse":   "flags are read in tools alone",
	"slog.Default": "a logger arrives as an option",
	"slog.Info":    "a logger arrives as an option",
	"slog.Warn":    "a logger arrives as an option",
	"slog.Error":   "a logger arrives as an option",
	"slog.Debug":   "a logger arrives as an option",
}

// callsOf returns the calls of package functions in a file that names has, as "package.Function".
func callsOf(syntax *ast.File, names map[string]string) (found []string) {
	ast.Inspect(syntax, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Obj == nil { // Obj is set for variables of the same name.
			if name := pkg.Name + "." + selector.Sel.Name; names[name] != "" {
				found = append(found, name)
			}
		}
		return true
	})
	return found
}

func TestCallsOf(t *testing.T) {
	const source = "package p\nimport \"os\"\nfunc f() { os.Exit(1); var fmt printer; fmt.Println(); os.Remove(\"\") }"
	syntax, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := callsOf(syntax, forbidden); !slices.Equal(got, []string{"os.Exit"}) {
		t.Errorf("got %v; want os.Exit alone", got)
	}
}
