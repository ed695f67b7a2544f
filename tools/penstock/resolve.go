package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// drivesKey names the drives in the configuration file and, in capitals, in the environment; on the command line they
// are the arguments.
const drivesKey = "drives"

// maxConfigLen bounds the configuration file. A real one is a page; a file of megabytes is another file.
const maxConfigLen = 1 << 20

// resolve fills in what the command line left open, from the environment and then from the configuration file, and
// checks the whole. The order is
//
//	flag > PENSTOCK_* > file > default
//
// setting by setting; a list is taken whole from the first that has one. An empty variable counts as absent, because
// that is how container tools pass on what was not set. A variable with an unknown name is let be: clusters set names
// such as PENSTOCK_PORT of their own accord. An unknown key of the file is refused: nobody but an operator writes there.
func resolve(s *settings, flags *pflag.FlagSet, args []string, getenv func(string) string) error {
	if env := getenv(envName("config")); env != "" && !flags.Changed("config") {
		s.config = env
	}
	file := map[string]entry{}
	if s.config != "" {
		var err error
		if file, err = readConfig(s.config, flags); err != nil {
			return err
		}
	}
	var err error
	flags.VisitAll(func(flag *pflag.Flag) {
		v, ours := flag.Value.(*value)
		if err != nil || flag.Changed || !ours || flag.Name == "config" {
			return
		}
		if env := getenv(envName(flag.Name)); env != "" {
			words := []string{env}
			if v.list {
				words = splitList(env)
			}
			v.source, err = sourceEnvironment, setAll(v, words, envName(flag.Name))
		} else if e, ok := file[flag.Name]; ok {
			v.source, err = sourceFile, setAll(v, e.words, fmt.Sprintf("%s:%d: %s", s.config, e.line, flag.Name))
		}
	})
	if err != nil {
		return err
	}

	patterns, where := args, ""
	s.drivesSource = sourceFlag
	if env := getenv(envName(drivesKey)); len(patterns) == 0 && env != "" {
		patterns, where = splitList(env), envName(drivesKey)+": "
		s.drivesSource = sourceEnvironment
	} else if e, ok := file[drivesKey]; len(patterns) == 0 && ok {
		patterns, where = e.words, fmt.Sprintf("%s:%d: ", s.config, e.line)
		s.drivesSource = sourceFile
	}
	if s.drives, err = expandDrives(patterns); err != nil {
		return fmt.Errorf("%s%w", where, err)
	}
	if s.metricsToken, err = secretEnv(metricsTokenEnv, getenv); err != nil {
		return err
	}
	if s.auditToken, err = secretEnv(auditTokenEnv, getenv); err != nil {
		return err
	}
	if s.root, err = givenCredentials(getenv); err != nil {
		return err
	}
	return s.check()
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// splitList takes a list from a variable apart, at spaces and commas.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\n' })
}

func setAll(v *value, words []string, where string) error {
	for _, word := range words {
		if err := v.Set(word); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	return nil
}

// An entry is one key of the configuration file.
type entry struct {
	words []string // One, unless it is a list.
	line  int
}

// readConfig reads the configuration file: one mapping from the names of flags to their values.
func readConfig(name string, flags *pflag.FlagSet) (map[string]entry, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfigLen {
		return nil, fmt.Errorf("--config %s: not a file of at most %s", name, formatSize(maxConfigLen))
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	entries, err := parseConfig(text, flags)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", name, err)
	}
	return entries, nil
}

// parseConfig parses the configuration file. Its errors begin with the number of the line.
func parseConfig(text []byte, flags *pflag.FlagSet) (map[string]entry, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, errors.New(yamlMistake(err))
	}
	entries := map[string]entry{}
	if len(doc.Content) == 0 {
		return entries, nil // Empty, or comments alone.
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%d: want lines of the form \"name: value\"", root.Line)
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, val := root.Content[i], root.Content[i+1]
		list := key.Value == drivesKey
		if !list {
			flag := flags.Lookup(key.Value)
			if flag == nil || key.Value == "config" || key.Value == "help" {
				return nil, fmt.Errorf("%d: unknown key %q", key.Line, key.Value)
			}
			v, _ := flag.Value.(*value)
			list = v != nil && v.list
		}
		if _, twice := entries[key.Value]; twice {
			return nil, fmt.Errorf("%d: key %q stands here a second time", key.Line, key.Value)
		}
		words, err := configWords(val, list)
		if err != nil {
			return nil, fmt.Errorf("%d: %s: %w", val.Line, key.Value, err)
		}
		entries[key.Value] = entry{words, key.Line}
	}
	return entries, nil
}

// configWords returns a value of the file as the words a flag would have been given.
func configWords(val *yaml.Node, list bool) ([]string, error) {
	switch {
	case val.Kind == yaml.ScalarNode && val.Tag != "!!null":
		return []string{val.Value}, nil
	case val.Kind == yaml.SequenceNode && list:
		var words []string
		for _, item := range val.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				return nil, fmt.Errorf("item in line %d is not a plain value", item.Line)
			}
			words = append(words, item.Value)
		}
		return words, nil
	case list:
		return nil, fmt.Errorf("want a list of plain values")
	}
	return nil, fmt.Errorf("want one plain value")
}

// yamlMistake puts the parser's "yaml: line 3: …" into the form of the other messages, "3: …".
func yamlMistake(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		return rest
	}
	return "1: " + text
}
