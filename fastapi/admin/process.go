package admin

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// Process is what the API needs of the process it runs in.
type Process interface {
	// Settings returns every setting as it is now. Secrets are not among them.
	Settings() []Setting
	// Set changes a setting until the process ends. Its error is an *Error.
	Set(name, value string) error
	// Log returns the latest lines of the log, the oldest first.
	Log() []byte
	// End begins to stop the process as SIGTERM does, and then with restart starts its program again, in its place. It returns at once.
	End(restart bool)
}

// Setting is one setting of the node.
type Setting struct {
	Name    string `json:"name"` // Of the flag.
	Value   string `json:"value"`
	Source  string `json:"source"`  // flag, environment, file, default; or admin, if it was changed since the start.
	Dynamic bool   `json:"dynamic"` // It may be changed while the node runs.
}

// SettingValue is what a setting becomes.
type SettingValue struct {
	Value string `json:"value"`
}

// Draining says whether the node tells load balancers that it is going away.
type Draining struct {
	Draining bool `json:"draining"`
}

func processRoutes() []*Route {
	return []*Route{
		{Method: "GET", Path: "/config", Name: "GetSettings", Action: "admin:GetSettings", Summary: "Every setting, and where it comes from.", Answer: []Setting{}, handle: (*API).settings},
		{
			Method: "PUT", Path: "/config/{name}", Name: "SetSetting", Action: "admin:SetSetting",
			Summary: "Change a dynamic setting until the next start.", Body: SettingValue{}, handle: (*API).setSetting,
		},
		{Method: "GET", Path: "/log", Name: "GetLog", Action: "admin:GetLog", Summary: "The latest lines of the log, each a document.", Type: "application/x-ndjson", handle: (*API).log},
		{Method: "GET", Path: "/drain", Name: "GetDraining", Action: "admin:GetDraining", Summary: "Whether the node drains.", Answer: Draining{}, handle: (*API).draining},
		{
			Method: "PUT", Path: "/drain", Name: "SetDraining", Action: "admin:SetDraining",
			Summary: "Answer load balancers that ask for readiness with 503, and go on serving; or end that.", Body: Draining{}, handle: (*API).setDraining,
		},
		{Method: "POST", Path: "/service/stop", Name: "StopService", Action: "admin:StopService", Summary: "Finish what is in flight and end the process.", handle: (*API).stop},
		{
			Method: "POST", Path: "/service/restart", Name: "RestartService", Action: "admin:RestartService",
			Summary: "Finish what is in flight and start the program anew, as it now is on disk.", handle: (*API).restart,
		},
		{
			Method: "GET", Path: "/profile/{kind}", Name: "Profile", Action: "admin:Profile",
			Summary: "A profile for go tool pprof: cpu, heap, allocs, goroutine, mutex, block, threadcreate; or trace, for go tool trace.",
			Params:  []Param{{Name: "seconds", Summary: "How long cpu, mutex, block and trace watch; 10 unless given, 120 at most."}},
			Type:    "application/octet-stream", handle: (*API).profile,
		},
	}
}

// process is the process, or an error for nodes that were not told of any.
func (a *API) process() (Process, error) {
	if a.opts.Process == nil {
		return nil, &Error{Status: 501, Code: "NotImplemented", Message: "this node runs in a program that gives no access to itself"}
	}
	return a.opts.Process, nil
}

func (a *API) settings(*Call) (any, error) {
	p, err := a.process()
	if err != nil {
		return nil, err
	}
	return p.Settings(), nil
}

func (a *API) setSetting(c *Call) (any, error) {
	p, err := a.process()
	if err != nil {
		return nil, err
	}
	var v SettingValue
	if err := decode(c.Body, &v); err != nil {
		return nil, err
	}
	return nil, p.Set(c.Args["name"], v.Value)
}

func (a *API) log(*Call) (any, error) {
	p, err := a.process()
	if err != nil {
		return nil, err
	}
	return p.Log(), nil
}

func (a *API) draining(*Call) (any, error) { return Draining{a.opts.Front.Draining()}, nil }

func (a *API) setDraining(c *Call) (any, error) {
	var d Draining
	if err := decode(c.Body, &d); err != nil {
		return nil, err
	}
	a.opts.Front.SetDraining(d.Draining)
	return nil, nil
}

func (a *API) stop(*Call) (any, error)    { return nil, a.end(false) }
func (a *API) restart(*Call) (any, error) { return nil, a.end(true) }

func (a *API) end(restart bool) error {
	p, err := a.process()
	if err != nil {
		return err
	}
	p.End(restart)
	return nil
}

const maxProfileTime = 120

// Rates of the profiles that cost something while they are taken: one in so many contended locks, one event in so many nanoseconds blocked.
const (
	mutexFraction = 10
	blockRate     = 10_000
)

func (a *API) profile(c *Call) (any, error) {
	seconds := 10
	if text := c.Query("seconds"); text != "" {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil || seconds < 1 || seconds > maxProfileTime {
			return nil, invalid("seconds is %q, want 1 to %d", text, maxProfileTime)
		}
	}
	kind := c.Args["kind"]
	timed := kind == "cpu" || kind == "trace" || kind == "mutex" || kind == "block"
	if !timed && pprof.Lookup(kind) == nil {
		return nil, &Error{Status: 404, Code: "NoSuchProfile", Message: "there is no profile " + strconv.Quote(kind) + "; there are cpu, heap, allocs, goroutine, mutex, block, threadcreate and trace"}
	}
	if !timed {
		var b bytes.Buffer
		if err := pprof.Lookup(kind).WriteTo(&b, 0); err != nil {
			return nil, err
		}
		return b.Bytes(), nil
	}
	running := &Error{Status: 409, Code: "ProfileRunning", Message: "another profile is being taken"}
	if !a.profiling.TryLock() {
		return nil, running
	}
	a.profiling.Unlock() // Until the answer begins: it may never.
	return Stream(func(ctx context.Context, w io.Writer) error {
		if !a.profiling.TryLock() {
			return running
		}
		defer a.profiling.Unlock()
		ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
		defer cancel()
		return takeProfile(ctx, kind, w)
	}), nil
}

// takeProfile watches until ctx ends.
func takeProfile(ctx context.Context, kind string, w io.Writer) error {
	switch kind {
	case "cpu":
		if err := pprof.StartCPUProfile(w); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	case "trace":
		if err := trace.Start(w); err != nil {
			return err
		}
		defer trace.Stop()
	case "mutex":
		before := runtime.SetMutexProfileFraction(mutexFraction)
		defer runtime.SetMutexProfileFraction(before)
		<-ctx.Done()
		return pprof.Lookup(kind).WriteTo(w, 0)
	case "block":
		runtime.SetBlockProfileRate(blockRate)
		defer runtime.SetBlockProfileRate(0)
		<-ctx.Done()
		return pprof.Lookup(kind).WriteTo(w, 0)
	}
	<-ctx.Done()
	return nil
}
