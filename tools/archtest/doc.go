// Package archtest holds the source to the rules that ARCHITECTURE.md states: the table of packages is read from that
// page, so the page and the code cannot part.
package archtest
