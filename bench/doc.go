// Package bench measures S3 servers: how fast they are, and what that costs.
//
// A [Run] is one load on one or more hosts, described by [Options]: what is asked (an operation), how large, how many at
// a time, for how long. It goes through the same steps whatever the load:
//
//	prepare    make the bucket and the objects that are to be read; read them once if the caches are to be warm
//	window     the workers send requests; every one that begins in the window counts, however long it takes
//	clean up   remove what was made
//
// Only the window is measured. What comes of it is a [Report]: requests, bytes, errors, latencies and times to the first
// byte of each kind of request and of each host, the CPU time of the load generator and, where it can be had, the
// costs of the server. Reports are stored as JSON, printed as tables, compared, and merged when several load
// generators worked side by side.
//
// A worker is one goroutine with one connection of package client. In a closed loop it sends its next request when the last one
// was answered. With a rate, requests have times at which they are due, and a latency counts from there: a server that
// stands still for a second is charged for all who would have come in it.
//
// Package roofline measures what the machine could do at best, for reports to be compared with.
package bench
