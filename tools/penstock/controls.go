package main

import (
	"cmp"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/pflag"

	"penstock/fastapi/admin"
)

// keptLog is how much of the log a support bundle can have.
const keptLog = 1 << 20

// controls are what the administration API reaches of the process. They implement admin.Process.
type controls struct {
	level *slog.LevelVar
	tail  *logTail
	stop  func(cause string) // Begins to stop the node.

	restart atomic.Bool // The program is to be started anew.

	mu       sync.Mutex // Guards the settings from here on.
	settings *settings
	changed  map[string]bool
}

// newControls returns the controls of a node that is about to start, and its log.
func newControls(s *settings, w io.Writer) (*controls, *slog.Logger) {
	c := &controls{level: new(slog.LevelVar), tail: &logTail{most: keptLog}, settings: s, changed: make(map[string]bool)}
	c.level.Set(logLevel(s.logLevel))
	kept := slog.NewJSONHandler(c.tail, &slog.HandlerOptions{Level: c.level})
	return c, slog.New(slog.NewMultiHandler(newHandler(w, c.level, s.logFormat), kept))
}

// Settings implements admin.Process.
func (c *controls) Settings() []admin.Setting {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []admin.Setting
	c.settings.flags.VisitAll(func(flag *pflag.Flag) {
		v, ours := flag.Value.(*value)
		if !ours {
			return
		}
		source := cmp.Or(v.source, sourceDefault)
		switch {
		case c.changed[flag.Name]:
			source = sourceAdmin
		case flag.Changed:
			source = sourceFlag
		}
		all = append(all, admin.Setting{Name: flag.Name, Value: v.String(), Source: source, Dynamic: c.change(flag.Name) != nil})
	})
	return append(all, admin.Setting{Name: drivesKey, Value: strings.Join(c.settings.drives, ","), Source: c.settings.drivesSource})
}

// Where a setting comes from.
const (
	sourceFlag        = "flag"
	sourceEnvironment = "environment"
	sourceFile        = "file"
	sourceDefault     = "default"
	sourceAdmin       = "admin"
)

// change returns what puts a new value of a setting into effect, or nil for one that only counts at the start.
func (c *controls) change(name string) func() {
	if name == "log-level" {
		return func() { c.level.Set(logLevel(c.settings.logLevel)) }
	}
	return nil
}

// Set implements admin.Process.
func (c *controls) Set(name, text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	flag := c.settings.flags.Lookup(name)
	if flag == nil {
		return &admin.Error{Status: 404, Code: "NoSuchSetting", Message: "there is no setting " + name}
	}
	change := c.change(name)
	if change == nil {
		return &admin.Error{Status: 409, Code: "SettingNotDynamic", Message: "the setting " + name + " counts at the start: change it where the node is started, and restart"}
	}
	if err := flag.Value.Set(text); err != nil {
		return &admin.Error{Status: 400, Code: "InvalidSetting", Message: name + ": " + err.Error()}
	}
	c.changed[name] = true
	change()
	return nil
}

// Log implements admin.Process.
func (c *controls) Log() []byte { return c.tail.bytes() }

// End implements admin.Process.
func (c *controls) End(restart bool) {
	if restart {
		c.restart.Store(true)
	}
	c.stop("the administration API")
}
