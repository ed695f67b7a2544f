package bench

import (
	"encoding/csv"
	"io"
	"strconv"
	"time"
)

// WriteCSV writes a line for each kind of request, of all hosts together and of each of them. Times are in microseconds.
func (r *Report) WriteCSV(w io.Writer) error {
	header := []string{"op", "size", "payload", "tls", "cache", "concurrency", "rate", "seconds", "host", "kind", "requests", "errors", "bytes",
		"requests_per_s", "bytes_per_s", "mean_us", "min_us"}
	for _, q := range quantiles {
		header = append(header, q.name+"_us")
	}
	header = append(header, "max_us")
	for _, q := range quantiles {
		header = append(header, "first_byte_"+q.name+"_us")
	}
	header = append(header, "client_cpu_s", "server_cpu_s")

	out := csv.NewWriter(w)
	out.Write(header) // Errors stay with the writer until Flush.
	for _, result := range r.Results {
		out.Write(append(r.csvLine("", result), float(r.Costs.ClientCPU), r.csvServerCPU()))
	}
	if len(r.Hosts) > 1 {
		for _, host := range r.Hosts {
			for _, result := range host.Results {
				out.Write(append(r.csvLine(host.Host, result), "", ""))
			}
		}
	}
	out.Flush()
	return out.Error()
}

func (r *Report) csvServerCPU() string {
	if r.Costs.Server == "" {
		return ""
	}
	return float(r.Costs.ServerCPU)
}

func (r *Report) csvLine(host string, result Result) []string {
	l := r.Load
	line := []string{
		l.Op, l.Size, l.Payload, strconv.FormatBool(l.TLS), string(l.Cache), strconv.Itoa(l.Concurrency), float(l.Rate), float(r.SecondsOf(result.Kind)), host,
		result.Kind.String(), strconv.FormatUint(result.Ops, 10), strconv.FormatUint(result.Errors, 10), strconv.FormatInt(result.Bytes, 10),
		float(perSecond(float64(result.Ops), r.SecondsOf(result.Kind))), float(perSecond(float64(result.Bytes), r.SecondsOf(result.Kind))),
		micro(result.Latency.Mean()), micro(result.Latency.Min),
	}
	for _, q := range quantiles {
		line = append(line, micro(result.Latency.Quantile(q.q)))
	}
	line = append(line, micro(result.Latency.Max))
	for _, q := range quantiles {
		line = append(line, micro(result.FirstByte.Quantile(q.q)))
	}
	return line
}

func perSecond(n, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return n / seconds
}

func micro(d time.Duration) string { return float(float64(d) / float64(time.Microsecond)) }

func float(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
