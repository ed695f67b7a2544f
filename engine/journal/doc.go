// Package journal makes records durable, a batch at a time, and finds them again.
package journal
