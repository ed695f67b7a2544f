package drive

import (
	"io/fs"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// Action is a set of things that a caller can ask of a drive.
type Action uint16

// The actions.
const (
	OnRead Action = 1 << iota
	OnWrite
	OnCreate
	OnOpen
	OnRemove
	OnResize
	OnReadMeta
	OnWriteMeta
	OnList
	OnSpace
	OnReadFile       // Of the file system for the index.
	OnChangeFile     // A write or a sync of one of its files, or a change of a directory.
	numActions   int = iota

	OnOps   = OnRead | OnWrite
	OnFiles = OnReadFile | OnChangeFile
	OnAny   = Action(1<<numActions-1) &^ OnFiles // Anything else that a drive is asked for.
)

// Event is one action, as a Rule sees it.
type Event struct {
	Drive  ID
	Action Action
	Seg    uint32
	Off    int64
	Len    int
	Name   string // Of a small file, or the path of one of the index.
}

// Effect is what a fault does. Those without a remark apply to any action.
type Effect uint8

// The effects.
const (
	Fail      Effect = iota // The action fails with Rule.Err and does nothing.
	FailAfter               // The action is carried out, then reported as failed with Rule.Err.
	Short                   // Op: half of the blocks are carried over, then Rule.Err.
	Delay                   // The action starts Rule.Delay later.
	Hang                    // The action does not start before Plan.Release.
	Lose                    // Write: reported as done, not done.
	Tear                    // Write: the first half of the sectors is written, all reported as done.
	Misdirect               // Op: carried out at another place of the segment.
	Stale                   // Read: the bytes before the last write; see Plan.KeepStale.
	Flip                    // Op: one bit of the data is the other way round.
	numEffects
)

// Rule says when a fault strikes and what it does.
type Rule struct {
	On     Action           // Actions concerned; 0 means OnOps.
	Drive  ID               // Drive concerned; zero means all.
	Match  func(Event) bool // Further condition; nil means none.
	Nth    int              // First matching action to strike, counted from 1 when the rule is made; 0 means 1.
	Times  int              // How many matching actions to strike from there on; 0 means 1, -1 all.
	Chance float64          // Probability to strike when its turn has come; 0 means 1.
	Do     Effect
	Err    error         // nil means EIO.
	Delay  time.Duration // Of Delay.
	Jitter bool          // Of Delay: a random part of it, different each time.
}

// Plan makes drives fail. All drives that it wraps share its counts, so that a test can say "the n-th
// write, on whichever drive".
type Plan struct {
	mu      sync.Mutex // Guards the fields below.
	rng     *rand.Rand
	rules   []*liveRule
	counts  map[ID]*[numActions]int
	dead    map[ID]bool
	release chan struct{} // Closed by Release and replaced.
	hung    int
	stale   bool
	old     map[blockKey][]byte // Blocks as they were before their last write.
}

type liveRule struct {
	Rule
	seen, struck int
}

type blockKey struct {
	drive ID
	seg   uint32
	block int64
}

// NewPlan returns a plan without rules. The seed decides what is left to chance.
func NewPlan(seed uint64) *Plan {
	return &Plan{
		rng: rand.New(rand.NewPCG(seed, seed)), counts: make(map[ID]*[numActions]int), dead: make(map[ID]bool),
		release: make(chan struct{}), old: make(map[blockKey][]byte),
	}
}

// Add adds a rule. Of several rules that strike one action the first does.
func (p *Plan) Add(r Rule) {
	if r.On == 0 {
		r.On = OnOps
	}
	if r.Err == nil {
		r.Err = syscall.EIO
	}
	r.Nth, r.Times = max(r.Nth, 1), cmpOr(r.Times, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, &liveRule{Rule: r})
}

func cmpOr(v, otherwise int) int {
	if v == 0 {
		return otherwise
	}
	return v
}

// Clear removes all rules. What hangs stays hanging.
func (p *Plan) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

// Struck returns how often rules have struck, since they were added.
func (p *Plan) Struck() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, r := range p.rules {
		n += r.struck
	}
	return n
}

// Kill makes every action on a drive fail with EIO from now on, but for those on the files of the index, which may be in memory.
func (p *Plan) Kill(id ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead[id] = true
}

// Revive ends what Kill began.
func (p *Plan) Revive(id ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.dead, id)
}

// Release lets all actions that hang go on.
func (p *Plan) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.release)
	p.release = make(chan struct{})
}

// Hung returns how many actions hang.
func (p *Plan) Hung() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hung
}

// KeepStale remembers from now on what each write replaces, for the effect Stale.
func (p *Plan) KeepStale() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale = true
}

// Count returns how many of these actions the drive with this id, or with a zero id all drives together,
// have been asked for, those struck by faults among them.
func (p *Plan) Count(id ID, actions Action) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for drive, counts := range p.counts {
		if id.IsZero() || drive == id {
			for i, c := range counts {
				if actions&(1<<i) != 0 {
					n += c
				}
			}
		}
	}
	return n
}

// strike counts an event and returns the rule that strikes it, or nil.
func (p *Plan) strike(e Event) *Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := p.counts[e.Drive]
	if counts == nil {
		counts = new([numActions]int)
		p.counts[e.Drive] = counts
	}
	for i := range counts {
		if e.Action == 1<<i {
			counts[i]++
		}
	}
	if p.dead[e.Drive] && e.Action&OnAny != 0 {
		return &Rule{Do: Fail, Err: syscall.EIO}
	}
	var hit *Rule
	for _, r := range p.rules {
		if r.On&e.Action == 0 || !r.Drive.IsZero() && r.Drive != e.Drive || r.Match != nil && !r.Match(e) {
			continue
		}
		r.seen++
		if r.seen < r.Nth || r.Times > 0 && r.struck >= r.Times || r.Chance > 0 && p.rng.Float64() >= r.Chance {
			continue
		}
		if hit == nil {
			r.struck++
			hit = &r.Rule
			if r.Jitter {
				one := r.Rule
				one.Delay = time.Duration(p.rng.Int64N(int64(r.Delay) + 1))
				hit = &one
			}
		}
	}
	return hit
}

// hang returns when Release is called.
func (p *Plan) hang() {
	p.mu.Lock()
	release := p.release
	p.hung++
	p.mu.Unlock()
	<-release
	p.mu.Lock()
	p.hung--
	p.mu.Unlock()
}

func (p *Plan) intN(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rng.IntN(n)
}

// Wrap returns d with the plan's faults.
func (p *Plan) Wrap(d Drive) Drive {
	return &faultDrive{Drive: d, plan: p}
}

// WrapAll wraps each drive.
func (p *Plan) WrapAll(drives []Drive) []Drive {
	wrapped := make([]Drive, len(drives))
	for i, d := range drives {
		wrapped[i] = p.Wrap(d)
	}
	return wrapped
}

type faultDrive struct {
	Drive // The sound drive. ID, Path, Device, Stats and Close are its own.
	plan  *Plan
	queue faultQueue
	watch Watch // Of what is asked of it; the sound drive's sees what faults let through.
}

// do carries out an action that is not an Op.
func (d *faultDrive) do(action Action, seg uint32, name string, f func() error) error {
	switch r := d.plan.strike(Event{Drive: d.ID(), Action: action, Seg: seg, Name: name}); {
	case r == nil:
		return f()
	case r.Do == Delay:
		time.Sleep(r.Delay)
		return f()
	case r.Do == Hang:
		d.plan.hang()
		return f()
	case r.Do == FailAfter:
		if err := f(); err != nil {
			return err
		}
		return &fs.PathError{Op: "fault", Path: d.Path(), Err: r.Err}
	default:
		return &fs.PathError{Op: "fault", Path: d.Path(), Err: r.Err}
	}
}

func (d *faultDrive) Queue() Queue  { return &d.queue }
func (d *faultDrive) Watch() *Watch { return &d.watch }

func (d *faultDrive) Segments() (segs []uint32, err error) {
	err = d.do(OnList, 0, "", func() error { segs, err = d.Drive.Segments(); return err })
	return segs, err
}

func (d *faultDrive) Create(seg uint32, size int64) (File, error) {
	return d.file(OnCreate, seg, func() (File, error) { return d.Drive.Create(seg, size) })
}

func (d *faultDrive) Open(seg uint32) (File, error) {
	return d.file(OnOpen, seg, func() (File, error) { return d.Drive.Open(seg) })
}

func (d *faultDrive) file(action Action, seg uint32, open func() (File, error)) (File, error) {
	var f File
	err := d.do(action, seg, "", func() (err error) { f, err = open(); return err })
	if err != nil {
		if f != nil { // Made, but reported as failed.
			f.Close()
		}
		return nil, err
	}
	return &faultFile{File: f, drive: d}, nil
}

func (d *faultDrive) Remove(seg uint32) error {
	return d.do(OnRemove, seg, "", func() error { return d.Drive.Remove(seg) })
}

func (d *faultDrive) ReadMeta(name string) (b []byte, err error) {
	err = d.do(OnReadMeta, 0, name, func() error { b, err = d.Drive.ReadMeta(name); return err })
	return b, err
}

func (d *faultDrive) WriteMeta(name string, data []byte, perm fs.FileMode) error {
	return d.do(OnWriteMeta, 0, name, func() error { return d.Drive.WriteMeta(name, data, perm) })
}

func (d *faultDrive) Space() (total, free int64, err error) {
	err = d.do(OnSpace, 0, "", func() error { total, free, err = d.Drive.Space(); return err })
	return total, free, err
}

type faultFile struct {
	File
	drive *faultDrive
}

func (f *faultFile) Drive() Drive { return f.drive }
func (f *faultFile) Queue() Queue { return &f.drive.queue }

func (f *faultFile) Resize(size int64) error {
	return f.drive.do(OnResize, f.Seg(), "", func() error { return f.File.Resize(size) })
}

// blocks yields the keys of the blocks of an op.
func (f *faultFile) blocks(off int64, n int) []blockKey {
	keys := make([]blockKey, n/BlockLen)
	for i := range keys {
		keys[i] = blockKey{f.drive.ID(), f.Seg(), off/BlockLen + int64(i)}
	}
	return keys
}
