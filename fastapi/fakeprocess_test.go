package fastapi

import (
	"sync"

	"penstock/fastapi/admin"
)

// fakeProcess is a process with one setting, which ends only on paper.
type fakeProcess struct {
	mu    sync.Mutex
	level string
	ended []bool // For each End, whether it was to restart.
}

func (p *fakeProcess) Settings() []admin.Setting {
	p.mu.Lock()
	defer p.mu.Unlock()
	return []admin.Setting{{Name: "log-level", Value: p.level, Source: "default", Dynamic: true}}
}

func (p *fakeProcess) Set(name, value string) error {
	if name != "log-level" {
		return &admin.Error{Status: 404, Code: "NoSuchSetting", Message: "there is no setting " + name}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.level = value
	return nil
}

func (p *fakeProcess) Log() []byte { return []byte("{\"msg\":\"ready\"}\n") }

func (p *fakeProcess) End(restart bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = append(p.ended, restart)
}
