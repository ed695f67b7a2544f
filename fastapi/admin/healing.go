package admin

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"penstock/engine"
)

// Healing is what the API needs of the store to see to its health.
type Healing interface {
	HealStatus() engine.HealStatus
	StartHealing()
	StopHealing() // Returns when nothing is being healed any more.
	ScrubStatus() engine.ScrubStatus
	StartScrub()
	StopScrub()
	ScrubNow()
	// Verify calls progress now and then, from any goroutine, one at a time.
	Verify(ctx context.Context, progress func(engine.VerifyProgress)) (engine.VerifyReport, error)
}

// Heal is what the heal ledger says, and what healing makes of it.
type Heal struct {
	Stopped  bool    `json:"stopped"`
	Shards   int     `json:"shards"`         // That are not what they should be. 0: nothing is missing.
	Volumes  int     `json:"volumes"`        // That have such shards.
	Healing  int     `json:"healing"`        // Volumes being healed now.
	Waiting  int     `json:"waiting"`        // Volumes that cannot be healed now; their shards say why.
	Narrow   int     `json:"narrow_volumes"` // With less parity than new ones, because drives were away when they were made. They are written again.
	Left     int64   `json:"left_bytes"`     // To be made anew or looked at, at most.
	Noted    int64   `json:"noted"`          // Since the start, as are the rest: what was entered in the ledger,
	Done     int64   `json:"done"`           // shards that are whole again or not needed any more,
	Moved    int64   `json:"moved"`          // shards made anew on another drive, or moved there,
	MovedLen int64   `json:"moved_bytes"`    // bytes written to them,
	MendLen  int64   `json:"mended_bytes"`   // and bytes written again in place.
	Ailing   []Shard `json:"ailing"`         // The first of the shards,
	Cut      bool    `json:"ailing_is_part"` // and whether there are more.
}

// Shard is one that is not what it should be.
type Shard struct {
	Cell   int       `json:"cell"`
	Volume string    `json:"volume"`
	Class  string    `json:"class,omitempty"` // "journal" or "bulk"; absent if no drive holds a segment of the volume.
	Shard  int       `json:"shard"`
	Causes string    `json:"causes"` // Such as "lost".
	Since  time.Time `json:"since"`
	Drive  string    `json:"drive,omitempty"` // That has it, or had it.
	Ranges int       `json:"ranges"`          // Parts of it that are in doubt; 0 means all of it.
	State  string    `json:"state"`           // "queued", "healing", "waiting" or "failing".
	Reason string    `json:"reason,omitempty"`
}

// Scrub says how far the verification of all segments is.
type Scrub struct {
	Stopped   bool       `json:"stopped"`
	Running   bool       `json:"running"`              // A round is under way.
	Begun     *time.Time `json:"begun,omitempty"`      // That round, or the last one.
	Volumes   int        `json:"volumes"`              // Of that round,
	Done      int        `json:"done"`                 // and those of them that are done.
	LastEnded *time.Time `json:"last_ended,omitempty"` // When the last round that ended did,
	LastFound int64      `json:"last_found"`           // and what it found.
	Period    float64    `json:"period_seconds"`       // In which every segment is verified; below 0: only when asked for.
	Read      int64      `json:"read_bytes"`           // Since the start, as is the rest.
	Found     int64      `json:"found"`                // Units and blocks that were not what was written.
}

// Verification is a line of the answer to a verification. The last line has the report or says what failed, or both; the others say how far it is.
type Verification struct {
	Phase  string               `json:"phase,omitempty"`
	Read   int64                `json:"read_bytes,omitempty"`
	Total  int64                `json:"total_bytes,omitempty"` // Of Read in the end, about.
	Report *engine.VerifyReport `json:"report,omitempty"`
	Error  string               `json:"error,omitempty"` // Why not everything was verified.
}

// healingRoutes are the rows about healing, scrubbing and verifying.
func healingRoutes() []*Route {
	return []*Route{
		{Method: "GET", Path: "/heal", Name: "HealStatus", Action: "admin:HealStatus", Summary: "What is missing, and what healing makes of it.", Answer: Heal{}, handle: (*API).healStatus},
		{Method: "POST", Path: "/heal/start", Name: "StartHealing", Action: "admin:StartHealing", Summary: "Take back a stop, and try at once what waits.", Answer: Heal{}, handle: (*API).startHealing},
		{Method: "POST", Path: "/heal/stop", Name: "StopHealing", Action: "admin:StopHealing", Summary: "Heal nothing until told to start, or restarted.", Answer: Heal{}, handle: (*API).stopHealing},
		{Method: "GET", Path: "/scrub", Name: "ScrubStatus", Action: "admin:ScrubStatus", Summary: "How far the verification of all segments is.", Answer: Scrub{}, handle: (*API).scrubStatus},
		{Method: "POST", Path: "/scrub/start", Name: "StartScrub", Action: "admin:StartScrub", Summary: "Take back a stop.", Answer: Scrub{}, handle: (*API).startScrub,
			Params: []Param{{Name: "now", Summary: "\"true\" begins a round at once, as fast as it may go."}}},
		{Method: "POST", Path: "/scrub/stop", Name: "StopScrub", Action: "admin:StopScrub", Summary: "Scrub nothing until told to start, or restarted.", Answer: Scrub{}, handle: (*API).stopScrub},
		{Method: "POST", Path: "/verify", Name: "Verify", Action: "admin:Verify", Summary: "Read and verify everything, now. Lines of JSON say how far it is; the last one has the report.",
			Answer: Verification{}, Type: "application/x-ndjson", handle: (*API).verify},
	}
}

func (a *API) healStatus(*Call) (any, error) {
	t := a.opts.Store.HealStatus()
	out := Heal{
		Stopped: t.Stopped, Shards: t.Shards, Volumes: t.Volumes, Healing: t.Healing, Waiting: t.Waiting, Narrow: t.Narrow, Left: t.Left,
		Noted: t.Noted, Done: t.Done, Moved: t.Moved, MovedLen: t.MovedLen, MendLen: t.MendLen,
		Ailing: []Shard{}, Cut: len(t.Ailing) < t.Shards,
	}
	for _, s := range t.Ailing {
		out.Ailing = append(out.Ailing, Shard(s))
	}
	return out, nil
}

func (a *API) startHealing(c *Call) (any, error) {
	a.opts.Store.StartHealing()
	return a.healStatus(c)
}

func (a *API) stopHealing(c *Call) (any, error) {
	a.opts.Store.StopHealing()
	return a.healStatus(c)
}

func (a *API) scrubStatus(*Call) (any, error) {
	t := a.opts.Store.ScrubStatus()
	return Scrub{
		Stopped: t.Stopped, Running: t.Running, Begun: whenever(t.Begun), Volumes: t.Volumes, Done: t.Done, LastEnded: whenever(t.LastEnded),
		LastFound: t.LastFound, Period: t.Period.Seconds(), Read: t.Read, Found: t.Found,
	}, nil
}

func (a *API) startScrub(c *Call) (any, error) {
	switch now := c.Query("now"); now {
	case "true":
		a.opts.Store.ScrubNow()
	case "", "false":
		a.opts.Store.StartScrub()
	default:
		return nil, invalid("now is %q, and may be true or false", now)
	}
	return a.scrubStatus(c)
}

func (a *API) stopScrub(c *Call) (any, error) {
	a.opts.Store.StopScrub()
	return a.scrubStatus(c)
}

// verifyTick is how often a line says how far a verification is. A caller that has gone is noticed at the next one.
const verifyTick = time.Second

// verify verifies everything for as long as the caller listens.
func (a *API) verify(*Call) (any, error) {
	return Stream(func(ctx context.Context, w io.Writer) error {
		lines := json.NewEncoder(w)
		if !a.verifying.TryLock() {
			return lines.Encode(Verification{Error: "another verification is under way"})
		}
		defer a.verifying.Unlock()
		ctx, cancel := context.WithCancel(ctx)
		progress, last := make(chan engine.VerifyProgress, 1), make(chan Verification, 1)
		go func() { // Ends with ctx at the latest, and is waited for.
			defer close(last)
			report, err := a.opts.Store.Verify(ctx, func(p engine.VerifyProgress) {
				select {
				case <-progress: // Only the latest is of interest.
				default:
				}
				progress <- p
			})
			line := Verification{Report: &report}
			if err != nil {
				line.Error = err.Error()
			}
			last <- line
		}()
		defer func() {
			cancel()
			for range last {
			}
		}()
		tick := time.NewTicker(verifyTick)
		defer tick.Stop()
		for line := (Verification{Phase: "start"}); ; {
			if err := lines.Encode(line); err != nil {
				return err
			}
			select {
			case line := <-last:
				return lines.Encode(line)
			case <-tick.C:
			}
			select {
			case p := <-progress:
				line = Verification{Phase: p.Phase, Read: p.Read, Total: p.Total}
			default:
			}
		}
	}), nil
}
