package admin

import (
	"context"
	"encoding/json"
	"errors"

	"penstock/engine"
)

// DriveKeeping is what the API needs of the store to have drives come and go. Drives go by their id, the beginning of it, or their path.
type DriveKeeping interface {
	AddDrive(ctx context.Context, path string, force bool) (engine.DriveInfo, error)
	ReplaceDrive(ctx context.Context, name, path string, force bool) (engine.DriveInfo, error)
	DrainDrive(ctx context.Context, name string, leave bool) (engine.DriveInfo, error)
	StopDraining(ctx context.Context, name string) (engine.DriveInfo, error)
	RemoveDrive(ctx context.Context, name string, force bool) error
}

// DriveList is all drives of the store, present or not.
type DriveList struct {
	Drives []Drive `json:"drives"`
}

// NewDrive is an empty directory that is to become a drive.
type NewDrive struct {
	Path  string `json:"path"`            // From the root. To replace a drive, it may be absent: then it is where that was.
	Force bool   `json:"force,omitempty"` // Also if it is a plain directory and all other drives are file systems of their own.
}

// driveRoutes are the rows about the life of drives.
func driveRoutes() []*Route {
	force := Param{Name: "force", Summary: "\"true\" removes it with shards that are nowhere else, if everything can be read without them."}
	leave := Param{Name: "remove", Summary: "\"true\" removes it when it is empty."}
	return []*Route{
		{Method: "GET", Path: "/drives", Name: "ListDrives", Action: "admin:ListDrives", Summary: "All drives, and how far those are that are being drained.", Answer: DriveList{}, handle: (*API).listDrives},
		{Method: "POST", Path: "/drives", Name: "AddDrive", Action: "admin:AddDrive", Summary: "Make an empty directory a drive of the store.", Body: NewDrive{}, Answer: Drive{}, handle: (*API).addDrive},
		{Method: "POST", Path: "/drives/{drive}/drain", Name: "DrainDrive", Action: "admin:DrainDrive", Summary: "Begin to move everything off a drive. A restart does not end it.", Params: []Param{leave}, Answer: Drive{}, handle: (*API).drainDrive},
		{Method: "DELETE", Path: "/drives/{drive}/drain", Name: "StopDraining", Action: "admin:StopDraining", Summary: "Let a drive that is being drained be used again.", Answer: Drive{}, handle: (*API).stopDraining},
		{Method: "POST", Path: "/drives/{drive}/replace", Name: "ReplaceDrive", Action: "admin:ReplaceDrive", Summary: "Make an empty directory a drive in the place of another, which is removed when nothing of it is needed any more.", Body: NewDrive{}, Answer: Drive{}, handle: (*API).replaceDrive},
		{Method: "DELETE", Path: "/drives/{drive}", Name: "RemoveDrive", Action: "admin:RemoveDrive", Summary: "Take a drive that holds nothing out of the store, for ever.", Params: []Param{force}, handle: (*API).removeDrive},
	}
}

func (a *API) listDrives(*Call) (any, error) {
	out := DriveList{Drives: []Drive{}}
	for _, d := range a.opts.Store.Info().Drives {
		out.Drives = append(out.Drives, driveOf(d))
	}
	return out, nil
}

func (a *API) addDrive(c *Call) (any, error) {
	doc, err := newDriveOf(c)
	if err == nil && doc.Path == "" {
		err = invalid("the path of the new drive is missing")
	}
	if err != nil {
		return nil, err
	}
	return driveAnswer(a.opts.Store.AddDrive(c.Context, doc.Path, doc.Force))
}

func (a *API) replaceDrive(c *Call) (any, error) {
	doc, err := newDriveOf(c)
	if err != nil {
		return nil, err
	}
	return driveAnswer(a.opts.Store.ReplaceDrive(c.Context, c.Args["drive"], doc.Path, doc.Force))
}

func newDriveOf(c *Call) (doc NewDrive, err error) {
	if err := json.Unmarshal([]byte(c.Body), &doc); err != nil {
		return doc, invalid("what was sent is not the document that this call takes: %v", err)
	}
	return doc, nil
}

func (a *API) drainDrive(c *Call) (any, error) {
	leave, err := truth(c, "remove")
	if err != nil {
		return nil, err
	}
	return driveAnswer(a.opts.Store.DrainDrive(c.Context, c.Args["drive"], leave))
}

func (a *API) stopDraining(c *Call) (any, error) {
	return driveAnswer(a.opts.Store.StopDraining(c.Context, c.Args["drive"]))
}

func (a *API) removeDrive(c *Call) (any, error) {
	force, err := truth(c, "force")
	if err != nil {
		return nil, err
	}
	return nil, driveError(a.opts.Store.RemoveDrive(c.Context, c.Args["drive"], force))
}

// truth returns a parameter that is true or false, which it is if it was not given.
func truth(c *Call, name string) (bool, error) {
	switch v := c.Query(name); v {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	default:
		return false, invalid("%s is %q, and may be true or false", name, v)
	}
}

func driveAnswer(d engine.DriveInfo, err error) (any, error) {
	if err != nil {
		return nil, driveError(err)
	}
	return driveOf(d), nil
}

// driveError says what the store says of a drive.
func driveError(err error) error {
	switch engine.KindOf(err) {
	case engine.KindNoSuchDrive:
		return &Error{Status: 404, Code: "NoSuchDrive", Message: causeOf(err)}
	case engine.KindDrive:
		return &Error{Status: 409, Code: "DriveRefused", Message: causeOf(err)}
	}
	return err
}

// causeOf is an error of the store in the words of its cause.
func causeOf(err error) string {
	if e, ok := errors.AsType[*engine.Error](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}
