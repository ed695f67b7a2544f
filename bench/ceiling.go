package bench

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"penstock/bench/roofline"
	"penstock/fastapi/sigv4"
)

// A Ceiling is how much of something a load used, as a share of what there is at best: a result cannot be better than the ceiling with the
// largest share.
type Ceiling struct {
	Name  string  `json:"name"`
	Share float64 `json:"share"`
	Made  string  `json:"made,omitempty"` // What the ceiling was computed from.
}

// Roof says which machine the servers are, for results to be told as shares of what it could do.
type Roof struct {
	Host  *roofline.Host // nil = unknown.
	Cores float64        // That the servers have in all; 0 = all of Host's.
	// OpaqueETag says that the servers compute no MD5.
	OpaqueETag bool
}

// work is what each piece of work of a load costs at best, in seconds of CPU time a second.
type work struct {
	name string
	cost float64
}

// ceilings computes how close a report is to what the machine could do. What the server must do for a byte is known for a server of
// this repository; another may do less (no erasure coding, no checksums) or more.
func (r *Report) ceilings(o *Options, roof Roof) []Ceiling {
	h := roof.Host
	if h == nil || r.Seconds() <= 0 {
		return nil
	}
	up, down, requests := r.flows()
	cores := cmp.Or(roof.Cores, float64(h.Cores))
	var parts []work
	add := func(name string, amount, rate float64) {
		if amount > 0 {
			parts = append(parts, work{name, amount / rate})
		}
	}
	width := float64(h.K+h.M) / float64(h.K)
	add("receive", up, h.Receive)
	add("Reed-Solomon", up, h.Encode)
	add("CRC64NVME", up*width+down, h.CRC64)
	if !roof.OpaqueETag {
		// Lanes are filled by uploads that come at the same time.
		rate, name := h.MD5, "MD5"
		if o.Concurrency >= md5LanesFrom && h.MD5Many > rate {
			rate, name = h.MD5Many, "MD5 in lanes"
		}
		add(name, up, rate)
	}
	if o.Payload.Mode == sigv4.Signed || o.Payload.Mode.ChunksSigned() {
		add("SHA-256", up, h.SHA256)
	}
	add("send", down, h.Send)
	if o.TLS != nil {
		add("AES-GCM", up+down, h.AESGCM)
	}
	add("requests", requests, 1/h.Exchange)
	slices.SortStableFunc(parts, func(a, b work) int { return cmp.Compare(b.cost, a.cost) })
	var sum float64
	var made []string
	for _, p := range parts {
		sum += p.cost
		made = append(made, fmt.Sprintf("%s %.2f", p.name, p.cost))
	}
	all := []Ceiling{{fmt.Sprintf("%g server cores", cores), sum / cores, "at best, in cores: " + strings.Join(made, ", ")}}
	if drives := h.Total(); len(h.Drives) > 0 {
		if up > 0 {
			all = append(all, Ceiling{"drives, writing", up * width / drives.Write, fmt.Sprintf("%s/s with parity", FormatBytes(int64(up*width)))})
		}
		// What came faster than drives can read did not come from them.
		if share := down / drives.Read; down > 0 && o.Cache != Warm && share <= 1 {
			all = append(all, Ceiling{"drives, reading", share, fmt.Sprintf("%s/s", FormatBytes(int64(down)))})
		}
	}
	slices.SortStableFunc(all, func(a, b Ceiling) int { return cmp.Compare(b.Share, a.Share) })
	return all
}

// md5LanesFrom is how many uploads at a time make it worth a server's while to hash them in the lanes of wide registers.
const md5LanesFrom = 4

// flows are the bytes a second that went up and down, and the requests a second.
func (r *Report) flows() (up, down, requests float64) {
	for _, result := range r.Results {
		if result.Kind.composite() {
			continue
		}
		requests += float64(result.Ops) / r.Seconds()
		switch result.Kind {
		case Put, UploadPart:
			up += float64(result.Bytes) / r.Seconds()
		default:
			down += float64(result.Bytes) / r.Seconds()
		}
	}
	return up, down, requests
}

// LineRateCores is how many cores the server would need for 100 GbE at what a byte has cost it; false when that is not known.
func (r *Report) LineRateCores() (float64, bool) {
	if r.Costs.Server == "" || r.Bytes() == 0 {
		return 0, false
	}
	return r.Costs.ServerCPU / float64(r.Bytes()) * roofline.LineRate, true
}
