package main

import "strings"

// A load is what one run of the load generator does, and what it is meant to cost.
type load struct {
	name  string // Also of the benchmark.
	args  string // Of penstock bench.
	start string // Which node it runs on: "" = the plain one; see starts.
	goals []goal
}

// A goal is a figure that a load is to reach.
type goal struct {
	figure figure
	limit  float64 // At most, or for rates at least. 0 = measured, and no goal.
	note   string
}

// A figure is what is read off a report.
type figure string

const (
	cpuPerOp  figure = "CPU ms/op"
	cpuPerGiB figure = "CPU s/GiB"
	perSecond figure = "op/s"
	tail      figure = "p99.9/p50"
)

func (f figure) atLeast() bool { return f == perSecond }

// starts are the nodes that loads run on, and the arguments that each is started with.
var starts = []string{"", "tls", "opaque", "degraded"}

// loads are all there are, in the order of the report.
var loads = []load{
	{"PUT 4KiB", "put --size 4KiB --objects 1024", "", []goal{{cpuPerOp, 0.035, ""}, {perSecond, 12_000, ""}}},
	{"PUT 4KiB 128 clients", "put --size 4KiB --objects 1024 --concurrent 128", "", []goal{{perSecond, 25_000, ""}, {cpuPerOp, 0, ""}}},
	{"GET 4KiB", "get --size 4KiB --objects 1024 --cache warm", "", []goal{{cpuPerOp, 0.020, ""}, {perSecond, 0, ""}}},
	{"HEAD", "stat --size 4KiB --objects 1024", "", []goal{{cpuPerOp, 0.012, ""}, {perSecond, 0, ""}}},
	{"PUT 64KiB signed chunks", "put --size 64KiB --objects 256 --payload chunks", "", []goal{{cpuPerOp, 0.14, ""}, {perSecond, 0, ""}}},
	{"GET 64KiB", "get --size 64KiB --objects 1024 --cache warm", "", []goal{{cpuPerOp, 0.06, ""}, {perSecond, 0, ""}}},
	{"PUT 1MiB signed chunks", "put --size 1MiB --objects 64 --payload chunks", "", []goal{{cpuPerGiB, 1.7, ""}}},
	{"PUT 1MiB unsigned", "put --size 1MiB --objects 64", "", []goal{{cpuPerGiB, 1.0, "MD5 ETag"}}},
	{"PUT 1MiB trailer", "put --size 1MiB --objects 64 --payload trailer", "", []goal{{cpuPerGiB, 1.0, "CRC64NVME, MD5 ETag"}}},
	{"PUT 1MiB opaque ETag", "put --size 1MiB --objects 64", "opaque", []goal{{cpuPerGiB, 0.55, ""}}},
	{"GET 1MiB", "get --size 1MiB --objects 256", "", []goal{{cpuPerGiB, 0.40, ""}}},
	{"PUT 64MiB signed chunks", "put --size 64MiB --objects 8 --concurrent 8 --payload chunks", "", []goal{{cpuPerGiB, 1.6, ""}}},
	{"GET 64MiB", "get --size 64MiB --objects 8 --concurrent 8", "", []goal{{cpuPerGiB, 0.30, ""}}},
	{"1MiB range of 64MiB", "range --size 64MiB --objects 8 --range-size 1MiB", "", []goal{{cpuPerGiB, 0, "within 15 % of GET 1MiB"}}},
	{"LIST 1000 keys", "list --objects 10000", "", []goal{{cpuPerOp, 1, "a page"}}},
	{"DELETE 100 keys", "delete --objects 20000 --batch 100 --concurrent 16", "", []goal{{cpuPerOp, 0.8, "a batch"}}},
	{"PUT 1MiB TLS", "put --size 1MiB --objects 64", "tls", []goal{{cpuPerGiB, 0, "less than plain PUT 1MiB signed chunks"}}},
	{"GET 1MiB TLS", "get --size 1MiB --objects 256", "tls", []goal{{cpuPerGiB, 0, ""}}},
	{"GET 1MiB degraded", "get --size 1MiB --objects 256 --prefix degraded --reuse", "degraded", []goal{{cpuPerGiB, 0, "at most 1.5 times GET 1MiB"}}},
	{"GET 4KiB 1000 clients", "get --size 4KiB --objects 1024 --cache warm --concurrent 1000", "", []goal{{cpuPerOp, 0, "as GET 4KiB"}}},
	{"GET 4KiB half load", "get --size 4KiB --objects 1024 --cache warm --rate 5000", "", []goal{{tail, 10, ""}}},
}

// relations are goals that compare two loads: the first costs at most factor times the second.
var relations = []struct {
	name, a, b string
	figure     figure
	factor     float64
}{
	{"range as cheap as a whole object", "1MiB range of 64MiB", "GET 1MiB", cpuPerGiB, 1.15},
	{"degraded GET", "GET 1MiB degraded", "GET 1MiB", cpuPerGiB, 1.5},
	{"TLS PUT cheaper than signed plain PUT", "PUT 1MiB TLS", "PUT 1MiB signed chunks", cpuPerGiB, 1},
	{"flat in connections, 1,000 to 16", "GET 4KiB 1000 clients", "GET 4KiB", cpuPerOp, 1.2},
}

// benchName is the name of a load for benchstat.
func (l load) benchName() string {
	return "BenchmarkNode/" + strings.NewReplacer(" ", "_", "/", "_").Replace(l.name)
}

// once reports whether the load ends by itself: what is deleted is gone.
func (l load) once() bool { return strings.HasPrefix(l.args, "delete") }
