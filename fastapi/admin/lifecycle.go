package admin

import (
	"context"
	"strconv"
	"time"

	"penstock/engine"
)

// Forecaster is what the API needs of the store to say what the rules of a bucket will do.
type Forecaster interface {
	// Forecast says of each rule of a bucket what it will do to each version and upload of a key; nothing if there are no rules.
	Forecast(ctx context.Context, bucket, key string) ([]engine.Forecast, error)
}

// Lifecycle is what the rules of a bucket will do to a key.
type Lifecycle struct {
	Bucket string   `json:"bucket"`
	Key    string   `json:"key"`
	Items  []Fate   `json:"items"`
	First  *Outlook `json:"first,omitempty"` // What comes first, if anything does.
}

// Fate is what they will do to one version or upload.
type Fate struct {
	What   string    `json:"what"`             // "current version", "former version", "delete marker" or "upload".
	Place  int       `json:"place"`            // Among the versions of the key, from 0 for the newest; 0 for an upload.
	Null   bool      `json:"null,omitempty"`   // The version has no ID of its own.
	Upload string    `json:"upload,omitempty"` // The ID of an upload.
	Rules  []Outlook `json:"rules"`            // One for each rule, in their order.
}

// Outlook is what one rule will do, or why it does nothing.
type Outlook struct {
	Rule   string     `json:"rule"`
	Action string     `json:"action"`           // "expire", "remove", "abort" or "none".
	At     *time.Time `json:"at,omitempty"`     // When; it may be over, as rules are followed once in a while.
	Locked bool       `json:"locked,omitempty"` // A lock will hold it then: the action waits until it does not.
	Why    string     `json:"why,omitempty"`    // Why it does nothing.
}

func (a *API) explainLifecycle(c *Call) (any, error) {
	out := Lifecycle{Bucket: c.Query("bucket"), Key: c.Query("key"), Items: []Fate{}}
	list, err := a.opts.Store.Forecast(c.Context, out.Bucket, out.Key)
	if err != nil {
		return nil, err
	}
	last, place := "", -1
	for i := range list {
		f := &list[i]
		if id := f.Upload + " " + strconv.FormatUint(uint64(f.Version), 16); id != last {
			last = id
			if f.Upload == "" {
				place++
			}
			out.Items = append(out.Items, fateOf(f, max(place, 0)))
		}
		o := outlookOf(f)
		if o.At != nil && (out.First == nil || o.At.Before(*out.First.At)) {
			out.First = &o
		}
		item := &out.Items[len(out.Items)-1]
		item.Rules = append(item.Rules, o)
	}
	return out, nil
}

func fateOf(f *engine.Forecast, place int) Fate {
	switch {
	case f.Upload != "":
		return Fate{What: "upload", Upload: f.Upload}
	case f.Marker:
		return Fate{What: "delete marker", Place: place, Null: f.Version == engine.NullVersion}
	case f.Current:
		return Fate{What: "current version", Place: place, Null: f.Version == engine.NullVersion}
	}
	return Fate{What: "former version", Place: place, Null: f.Version == engine.NullVersion}
}

func outlookOf(f *engine.Forecast) Outlook {
	o := Outlook{Rule: f.Rule, Action: f.Action.String(), Locked: f.Locked, Why: f.Why}
	if f.Action != 0 {
		at := f.At.UTC()
		o.At = &at
	}
	return o
}
