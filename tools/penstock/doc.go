// Command penstock is the data node: one binary that serves S3 from erasure-coded drives.
//
// It is the one place that wires everything: flags, environment and configuration file are read here and nowhere
// else, then handed down as options. What it adds to the store and its front end is the life of a process:
//
//	settings     flag > environment PENSTOCK_* > file > default; a mistake is one line and exit code 2
//	listen       the port is taken first and answers "not yet" until the store is ready
//	open         the store formats blank drives, recovers, or says in one line why it will not; it waits for missing drives
//	             if it cannot do without them
//	credentials  the root pair, given or generated once and kept on the drives
//	ready        one log line; from here on every request is served
//	drain        SIGTERM or Ctrl-C: no new requests, those in flight finish, the store closes, all within 5 s
//
// Exit codes: 0 after an orderly stop, 1 when something failed that may work when tried again, 2 when the
// command line, the configuration or a drive must be put right first. A supervisor may restart after 1 and
// should not after 2. A verification that read everything ends with 3 if it found what healing makes good, and with 4 if
// anything is lost.
package main
