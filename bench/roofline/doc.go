// Package roofline measures what a machine could do at best, in a few seconds: each piece of work that a data node is made
// of, by itself, with nothing around it. A result can then be told as a share of what binds it.
//
// Work of a core is measured in the CPU time of the thread that does it, which another load on the machine changes little. Drives are measured by the
// clock, all at once, through the same ring that the store uses, at a depth that keeps them busy.
package roofline
