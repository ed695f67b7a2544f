package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"penstock/bench"
	"penstock/bench/roofline"
	"penstock/fastapi"
	"penstock/fastapi/admin"
	"penstock/numa"
	"penstock/tools/penstock/doctor"
)

// A diagnosis is what the doctor says, as a document.
type diagnosis struct {
	Severity doctor.Severity  `json:"severity"` // The worst of all.
	Findings []doctor.Finding `json:"findings"`
	Host     *roofline.Host   `json:"host,omitempty"` // What the machine could do at best, if it was measured.
}

func newDoctorCommand(p *process) *cobra.Command {
	s, all := newSettings()
	c := &adminClient{getenv: p.getenv, stdout: p.stdout, region: fastapi.DefaultRegion}
	var interfaces []string
	var measure, live, asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [flags] [DRIVE...]",
		Short: "Say what speaks against running a node on this machine, or for its being slow",
		Long: "Look at the machine, the drives and the network, and at the node if one runs, and say what is not right and what would be.\n" +
			"Nothing is changed; --measure writes a file of 128 MiB to each drive and removes it.\n\n" +
			"Exit code 0: all is well, or only worth knowing; 3: something will be slow or survive less than it could; 4: something must be\n" +
			"put right. 2 is a mistake in the command.",
		Example: `  penstock doctor --config /etc/penstock/penstock.yaml
  penstock doctor --measure /mnt/nvme{1...6}
  penstock doctor --live --json /mnt/nvme{1...6}`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 || s.config != "" {
				if err := resolve(s, all, args, p.getenv); err != nil {
					return err
				}
			}
			if s.memory == 0 {
				topology, _ := numa.Read(os.DirFS("/sys")) // Without it, it is a share of what /proc says.
				node := numa.Node{}
				if len(topology.Nodes) > 0 {
					node = topology.Nodes[0]
				}
				s.setMemory(node)
			}
			d := diagnosis{Findings: doctor.Examine(doctor.Options{Drives: s.drives, Interfaces: interfaces, Memory: s.memory})}
			if live {
				d.Findings = append(d.Findings, examineNode(cmd.Context(), c)...)
			}
			if err := d.roof(cmd.Context(), s, measure); err != nil {
				return fail(err)
			}
			d.Severity = doctor.Worst(d.Findings)
			if asJSON {
				if err := printJSON(p.stdout, d); err != nil {
					return err
				}
			} else if err := d.print(p.stdout); err != nil {
				return fail(err)
			}
			switch d.Severity {
			case doctor.Failure:
				return &failure{errors.New("something must be put right"), exitLost}
			case doctor.Warning:
				return &failure{errors.New("something should be put right"), exitAiling}
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&interfaces, "interface", nil, "network interface that clients come through (default all that are up)")
	cmd.Flags().BoolVar(&measure, "measure", false, "measure what the machine could do at best, as bench host does")
	cmd.Flags().BoolVar(&live, "live", false, "also ask the node that runs here, at --server")
	cmd.Flags().StringVar(&c.server, "server", "", "URL of that node (default "+serverEnv+" of the environment, or http://"+defaultAddress+")")
	cmd.Flags().StringVar(&c.ca, "ca", "", "file with the certificates to trust, in PEM (default those of the system)")
	cmd.Flags().BoolVar(&c.insecure, "insecure", false, "do not check the node's certificate")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a document")
	cmd.Flags().AddFlag(all.Lookup("config"))
	cmd.Flags().AddFlag(all.Lookup("memory"))
	return cmd
}

// examineNode asks a running node. What only an administrator learns is left out where there are no credentials.
func examineNode(ctx context.Context, c *adminClient) (findings []doctor.Finding) {
	add := func(s doctor.Severity, check, text, advice string) {
		findings = append(findings, doctor.Finding{Check: check, Severity: s, Text: text, Advice: advice})
	}
	if err := c.prepare(); err != nil {
		add(doctor.Notice, "node", "what only its administrators learn is left out: "+oneLine(err), "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		return findings
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.String()+readyPath, nil)
	if err != nil {
		add(doctor.Failure, "node", oneLine(err), "")
		return findings
	}
	response, err := c.http.Do(request)
	if err != nil {
		add(doctor.Failure, "node", oneLine(err), "start it, or name it with --server")
		return findings
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		add(doctor.Failure, "node", "not ready: "+response.Status, "its log says why")
		return findings
	}
	var info admin.Info
	if err := c.call(ctx, "GET", "/info", nil, nil, &info); err != nil {
		add(doctor.Notice, "node", "ready; says no more: "+oneLine(err), "use the credentials of an administrator")
		return findings
	}
	add(doctor.Good, "node", fmt.Sprintf("ready, %s over %d drives, up %v", info.Geometry, len(info.Drives), (time.Duration(info.Uptime)*time.Second)), "")
	if !info.Direct {
		add(doctor.Notice, "node", "reads and writes through the page cache", "drives that allow O_DIRECT")
	}
	for _, d := range info.Drives {
		name := d.Path
		if name == "" {
			name = "drive " + d.ID
		}
		switch {
		case d.State != "ok":
			add(doctor.Failure, name, "the node calls it "+d.State+": "+d.Reason, "penstock drive list says what can be done")
		case d.Errors > 0:
			add(doctor.Warning, name, fmt.Sprintf("%d reads or writes have failed since it was opened", d.Errors), "look at the kernel's log, and replace it if they go on")
		}
	}
	return findings
}

// roof adds what the machine could do at best: as measured now, or as kept from before.
func (d *diagnosis) roof(ctx context.Context, s *settings, measure bool) error {
	file, err := roofline.DefaultFile()
	if err != nil && measure {
		return err
	}
	if measure {
		o, err := hostOptions(s.drives, s.parity)
		if err != nil {
			return err
		}
		if d.Host, err = roofline.Measure(ctx, o); err != nil {
			return err
		}
		if err := d.Host.Save(file); err != nil {
			return err
		}
	} else if err == nil {
		host, err := roofline.Load(file)
		machine := bench.ThisMachine()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && host.CPU == machine.CPU && host.Kernel == machine.Kernel {
			d.Host = host
		}
	}
	return nil
}

// How a finding shows.
var severityShown = map[doctor.Severity]struct {
	word string
	as   meaning
}{doctor.Good: {"ok  ", good}, doctor.Notice: {"note", faint}, doctor.Warning: {"warn", warning}, doctor.Failure: {"FAIL", bad}}

func (d *diagnosis) print(w io.Writer) error {
	p := paint(plain)
	if isTerminal(w) {
		p = coloured
	}
	width := 0
	for _, f := range d.Findings {
		width = max(width, len(f.Check))
	}
	for _, f := range d.Findings {
		shown := severityShown[f.Severity]
		fmt.Fprintf(w, "%s  %-*s  %s\n", p(shown.as, shown.word), width, f.Check, f.Text)
		if f.Advice != "" {
			fmt.Fprintf(w, "      %-*s  -> %s\n", width, "", f.Advice)
		}
	}
	if d.Host == nil {
		_, err := fmt.Fprintln(w, "\nWhat the machine could do at best was not measured: --measure does that.")
		return err
	}
	fmt.Fprintln(w)
	return d.Host.WriteTable(w)
}
