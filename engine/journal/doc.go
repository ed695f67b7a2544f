// Package journal makes records durable, a batch at a time, and finds them again.
//
// A batch is one stripe of a journal volume: whole records in its data shards, and parity over them (header.go and frame.go draw both).
// Writing it is the only durable step of a small write; the index is a view of what it says. The package rests on these ideas:
//
//   - Group commit without timers. With nothing in flight, what is queued goes at once. Otherwise it gathers until a batch is
//     durable, or until it makes a good batch and another one may be in flight. See committer.go.
//   - A lone record costs one data shard and the parities; many records share a batch at full width, in the same format. See pack.go.
//   - Batches are written side by side and acknowledged in order, after Apply. What is acknowledged is durable and visible.
//   - A drive that fails or hangs is given up, the volume ends behind its last durable batch, and what was in flight is written again in
//     another volume. A volume's first batch lists the volumes before it and where they end. See rollover.go.
//   - The end of the journal is where decoding stops, unless a later header proves that what does not decode was once durable. Then it
//     is damage, and Recover refuses: nothing that was acknowledged is ever cut off. See recover.go and survey.go.
//   - What Recover counts is on all its drives, or is carried over into the new volume, before anybody hears of it. So which drives are there
//     at which start makes no difference, as long as no more than m are missing at once.
//
// Append and AppendAsync may be called from any goroutine. Who waits for a Ticket should not give up: the records may be on their
// way, and then nobody can say whether they will count.
//
// The package knows nothing of what records mean, but for two of the index's: journal start and journal freed. It does not heal what is
// missing in older batches, does not relocate records, and does not decide when a volume is dead.
package journal
