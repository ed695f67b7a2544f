package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"penstock/fastapi/admin"
)

func newAdminTopCommand(c *adminClient) *cobra.Command {
	var interval, slower time.Duration
	var once bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch a node at work: requests, drives, rings, memory, the slowest calls",
		Long: "Watch a node at work. Keys: q ends, space holds, + and - change the interval, s sorts the requests by another column.\n" +
			"Where the output is no terminal, or with --once, two readings are taken and what happened between them is printed.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < 100*time.Millisecond {
				return fmt.Errorf("--interval %v is below 100ms", interval)
			}
			first, err := c.read(cmd.Context())
			if err != nil {
				return err
			}
			if once || c.json || !isTerminal(c.stdout) {
				return c.topOnce(cmd.Context(), first, interval)
			}
			return c.topLive(cmd.Context(), &top{interval: interval, last: first, server: c.base.String()}, slower)
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "time between two readings")
	cmd.Flags().DurationVar(&slower, "slower", 10*time.Millisecond, "calls that count as slow")
	cmd.Flags().BoolVar(&once, "once", false, "print one interval and end")
	return cmd
}

// A reading is what the node says at one moment.
type reading struct {
	Time time.Time  `json:"time"`
	Info admin.Info `json:"info"`
	Cost admin.Cost `json:"cost"`
}

func (c *adminClient) read(ctx context.Context) (reading, error) {
	quiet := *c // Readings are never printed as they come.
	quiet.json = false
	if err := quiet.prepare(); err != nil {
		return reading{}, err
	}
	c.base, c.http, c.signer = quiet.base, quiet.http, quiet.signer
	r := reading{}
	if err := quiet.call(ctx, "GET", "/info", nil, nil, &r.Info); err != nil {
		return r, err
	}
	err := quiet.call(ctx, "GET", "/cost", nil, nil, &r.Cost)
	r.Time = r.Cost.Time
	return r, err
}

// topOnce prints what happened in one interval; with --json, the two readings.
func (c *adminClient) topOnce(ctx context.Context, first reading, interval time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(interval):
	}
	second, err := c.read(ctx)
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.stdout, []reading{first, second})
	}
	t := top{interval: interval, before: first, last: second, server: c.base.String(), width: 120}
	_, err = fmt.Fprintln(c.stdout, t.page(plain))
	return fail(err)
}

// topLive shows a page until somebody ends it.
func (c *adminClient) topLive(ctx context.Context, t *top, slower time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.read = func() (reading, error) { return c.read(ctx) }
	program := tea.NewProgram(t, tea.WithContext(ctx), tea.WithOutput(c.stdout))
	go func() {
		// Without the stream the page lacks its slowest calls; the reading that fails next says why.
		body, err := c.open(ctx, "GET", "/requests", url.Values{"slower": {slower.String()}}, nil)
		if err != nil {
			return
		}
		defer body.Close()
		eachRequest(body, func(_ []byte, r *admin.Request) (bool, error) {
			program.Send(slowCall(*r))
			return true, nil
		})
	}()
	_, err := program.Run()
	return fail(err)
}

// top is the page, a tea.Model. Only its Update changes it.
type top struct {
	server        string
	interval      time.Duration
	read          func() (reading, error)
	before, last  reading
	slow          []admin.Request // The slowest of the last minute, slowest first.
	err           error           // Of the latest reading.
	held          bool
	column        int // Of the requests, that they are sorted by.
	width, height int
}

type (
	slowCall admin.Request
	taken    struct {
		reading reading
		err     error
	}
	due time.Time
)

// Slow calls are shown for slowFor, at most slowMost of them.
const (
	slowFor  = time.Minute
	slowMost = 10
)

// Init implements tea.Model.
func (t *top) Init() tea.Cmd { return t.wait() }

func (t *top) wait() tea.Cmd {
	return tea.Tick(t.interval, func(at time.Time) tea.Msg { return due(at) })
}

// Update implements tea.Model.
func (t *top) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		t.width, t.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			return t, tea.Quit
		case "space", " ", "p":
			t.held = !t.held
		case "+":
			t.interval = min(t.interval*2, time.Minute)
		case "-":
			t.interval = max(t.interval/2, 250*time.Millisecond)
		case "s":
			t.column = (t.column + 1) % len(requestColumns)
		}
	case due:
		if t.held {
			return t, t.wait()
		}
		return t, func() tea.Msg {
			r, err := t.read()
			return taken{r, err}
		}
	case taken:
		if t.err = msg.err; msg.err == nil {
			t.before, t.last = t.last, msg.reading
		}
		t.forget()
		return t, t.wait()
	case slowCall:
		if !t.held {
			t.slow = append(t.slow, admin.Request(msg))
			slices.SortStableFunc(t.slow, func(a, b admin.Request) int { return cmp.Compare(b.Seconds, a.Seconds) })
			t.forget()
		}
	}
	return t, nil
}

// forget drops the calls that are too old to show, and too quick.
func (t *top) forget() {
	t.slow = slices.DeleteFunc(t.slow, func(r admin.Request) bool {
		return t.last.Time.Sub(r.Time.Add(time.Duration(r.Seconds*float64(time.Second)))) > slowFor
	})
	t.slow = t.slow[:min(len(t.slow), slowMost)]
}

// View implements tea.Model.
func (t *top) View() tea.View {
	v := tea.NewView(t.page(coloured))
	v.AltScreen = true
	v.WindowTitle = "penstock top"
	return v
}
