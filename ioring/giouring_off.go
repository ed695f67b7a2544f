//go:build linux && !giouring

package ioring

import "errors"

// builtRungs lists the rungs that only this build has, to be tried first.
func builtRungs() []Rung { return nil }

func openGiouringQueue(Options) (*ringQueue, error) {
	return nil, errors.New("this binary was built without the tag giouring")
}
