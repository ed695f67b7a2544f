package admin

import "penstock/engine"

// Compaction is what the API needs of the store to win space back.
type Compaction interface {
	CompactStatus() engine.CompactStatus
	StartCompaction()
	StopCompaction()
}

// Compact says what compaction is at: it writes what lives in volumes that hold much else somewhere denser, and so wins their space back.
type Compact struct {
	Asked      bool   `json:"asked"`           // Everything worthwhile is being moved because somebody asked for it.
	AskedError string `json:"asked_error"`     // Why the last such compaction ended early; empty if it did not.
	Running    bool   `json:"running"`         // Some volume is being moved.
	Volume     string `json:"volume"`          // The last one that was begun; empty for none.
	Error      string `json:"error"`           // Why that could not be moved whole; empty if it could.
	Waiting    int    `json:"waiting_volumes"` // Volumes that are empty, but that readers, or copies of the index, still hold.

	Used int64 `json:"used_bytes"` // That closed volumes take on the drives, when it last looked,
	Live int64 `json:"live_bytes"` // and would take if they held only what lives.

	Volumes  int64 `json:"volumes"` // Emptied since the start, as is the rest.
	Skipped  int64 `json:"skipped"` // Volumes of which something could not be read.
	Records  int64 `json:"records"` // Moved,
	Extents  int64 `json:"extents"` // of both kinds of volumes.
	ReadLen  int64 `json:"read_bytes"`
	WriteLen int64 `json:"written_bytes"` // Before parity.
}

func compactRoutes() []*Route {
	return []*Route{
		{Method: "GET", Path: "/compact", Name: "CompactStatus", Action: "admin:CompactStatus", Summary: "What compaction is at.", Answer: Compact{}, handle: (*API).compactStatus},
		{
			Method: "POST", Path: "/compact/start", Name: "StartCompaction", Action: "admin:StartCompaction",
			Summary: "Move what lives out of every volume in which there is some waste, now.", Answer: Compact{}, handle: (*API).startCompaction,
		},
		{
			Method: "POST", Path: "/compact/stop", Name: "StopCompaction", Action: "admin:StopCompaction",
			Summary: "Take that back. Compaction goes on by itself as it did before.", Answer: Compact{}, handle: (*API).stopCompaction,
		},
	}
}

func (a *API) compactStatus(*Call) (any, error) {
	t := a.opts.Store.CompactStatus()
	return Compact{
		Asked: t.Asked, AskedError: text(t.AskedErr), Running: t.Running, Volume: t.Volume, Error: text(t.Err), Waiting: t.Waiting,
		Used: t.Used, Live: t.Live, Volumes: t.Volumes, Skipped: t.Skipped, Records: t.Records, Extents: t.Extents,
		ReadLen: t.ReadLen, WriteLen: t.WriteLen,
	}, nil
}

func (a *API) startCompaction(c *Call) (any, error) {
	a.opts.Store.StartCompaction()
	return a.compactStatus(c)
}

func (a *API) stopCompaction(c *Call) (any, error) {
	a.opts.Store.StopCompaction()
	return a.compactStatus(c)
}

// text is what an error says, or nothing.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
