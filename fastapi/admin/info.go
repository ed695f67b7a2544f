package admin

import "penstock/engine"

// Info is what a node says of itself.
type Info struct {
	Cluster  string  `json:"cluster"`
	Cells    int     `json:"cells"`
	Geometry string  `json:"geometry"` // Of new volumes: data and parity shards, such as "4+2".
	IO       string  `json:"io"`       // Rung of the I/O ladder.
	Direct   bool    `json:"direct"`   // Whether the page cache is bypassed.
	Uptime   float64 `json:"uptime_seconds"`
	Drives   []Drive `json:"drives"`
}

// Drive is the state of one drive.
type Drive struct {
	ID       string `json:"id"`
	Path     string `json:"path,omitempty"` // Absent if the drive is missing and nobody said where it should be.
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"` // Why, when the state is not "ok", or why it cannot be emptied now.
	Draining bool   `json:"draining"`         // It takes nothing new and is being emptied,
	Leaving  bool   `json:"leaving"`          // and is removed when it is empty, or when what it held is elsewhere.
	Shards   int    `json:"shards"`           // Whose place is on it.
	ShardLen int64  `json:"shard_bytes"`      // That these take.
	Moved    int    `json:"moved"`            // Shards moved off it since the start, while it is drained.
	MovedLen int64  `json:"moved_bytes"`
	Stuck    int    `json:"stuck"` // Of shards, those that no other drive can take now.
	Total    int64  `json:"total_bytes"`
	Free     int64  `json:"free_bytes"`
	Reads    int64  `json:"reads"` // Since the start, as are the rest.
	Writes   int64  `json:"writes"`
	ReadLen  int64  `json:"read_bytes"`
	WriteLen int64  `json:"write_bytes"`

	ReadTime  float64 `json:"read_seconds"` // Sum over all reads and writes of segments since the drive was opened; 0 for one that is not open.
	WriteTime float64 `json:"write_seconds"`
	Errors    uint64  `json:"errors"`
	Segments  int     `json:"segments"`
	Unused    int     `json:"unused_segments"` // Of these, free to be used again.
}

func (a *API) info(*Call) (any, error) {
	i := a.opts.Store.Info()
	out := Info{
		Cluster: i.Cluster, Cells: i.Cells, Geometry: i.Geometry, IO: i.Rung, Direct: i.Direct, Uptime: a.uptime(),
		Drives: []Drive{},
	}
	gauges := make(map[string]engine.DriveGauges)
	for _, g := range a.opts.Store.Gauges().Drives {
		gauges[g.ID] = g
	}
	for _, d := range i.Drives {
		one, g := driveOf(d), gauges[d.ID]
		one.ReadTime, one.WriteTime, one.Errors = g.ReadOps.Time.Seconds(), g.WriteOps.Time.Seconds(), g.ReadOps.Errors+g.WriteOps.Errors
		one.Segments, one.Unused = g.Segments, g.Unused
		out.Drives = append(out.Drives, one)
	}
	return out, nil
}

func driveOf(d engine.DriveInfo) Drive {
	return Drive{
		ID: d.ID, Path: d.Path, State: d.State, Reason: d.Reason, Total: d.Total, Free: d.Free, Draining: d.Draining, Leaving: d.Leaving,
		Shards: d.Shards, ShardLen: d.ShardLen, Moved: d.Moved, MovedLen: d.MovedLen, Stuck: d.Stuck,
		Reads: d.Reads, Writes: d.Writes, ReadLen: d.ReadLen, WriteLen: d.WriteLen,
	}
}
