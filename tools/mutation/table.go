package main

// A mutation breaks an invariant: where the text old is, exactly once in the file, it puts text that does not keep it any more.
type mutation struct {
	invariant int
	says      string // What the invariant says, in short.
	check     string // What the line is for.
	file      string
	old, new  string
	pkg, test string // The test that fails then.
}

var mutations = []mutation{
	{
		1, "an acknowledged write survives", "a batch that failed on a drive is not acknowledged",
		"engine/journal/committer.go",
		`for len(c.inFlight) > 0 && c.inFlight[0].settled && !c.inFlight[0].failed {`,
		`for len(c.inFlight) > 0 && c.inFlight[0].settled {`,
		"./engine/journal", "TestWriteFaults",
	},
	{
		2, "an unacknowledged write is wholly there or wholly absent", "recovery completes a batch that was written in part, so that any m drives may go afterwards",
		"engine/journal/recover.go",
		`if err := r.write(file, i, block); err != nil {`,
		`if err := error(nil); block == nil {`,
		"./engine/journal", "TestHalfWrittenBatchIsRepaired",
	},
	{
		3, "no body has bytes that failed verification", "each unit that was read is compared with its checksum in the index",
		"engine/read.go",
		`if erasure.Checksum(mem[u.ObjectOff-start:][:u.DataLen]) != s.ext.Units[u.Index] {`,
		`if false {`,
		"./engine", "TestBadReads",
	},
	{
		4, "a read after an acknowledged write sees it, conditions are atomic", "writes of one key wait for each other",
		"engine/keylock.go",
		"	k := shard.locks[key]\n	if k == nil {",
		"	k := (*keyLock)(nil)\n	if k == nil {",
		"./engine", "TestCreateRaces",
	},
	{
		5, "the index rebuilt from the journals is the one that was lost", "of the records of an entity the newest counts, wherever it was moved to",
		"meta/rebuild.go",
		`if origin > a.origin() || origin == a.origin() && lsn >= a.LSN {`,
		`if origin == a.origin() && lsn >= a.LSN {`,
		"./meta", "TestRebuild",
	},
	{
		6, "no two shards of a volume are on one drive", "a shard moves only to a drive that the volume does not use",
		"engine/volume/replace.go",
		`case !m.usable(), used[id], full[m],`,
		`case !m.usable(), full[m],`,
		"./engine/volume", "TestRandomMoves|TestReplace",
	},
	{
		7, "a segment is not recycled while somebody may need it", "a dead volume is freed after the readers that may have seen it alive",
		"engine/recycle.go",
		`case vol.Pins() > 0 || !r.c.generations.passed(dead.generation):`,
		`case vol.Pins() > 0:`,
		"./engine", "TestRecycleReader",
	},
	{
		8, "queues and memory are bounded", "what does not fit into the journal's queue waits",
		"engine/journal/queue.go",
		`return q.groups < maxQueueGroups && q.bytes < maxQueueBytes`,
		`return q.groups < maxQueueGroups`,
		"./engine/journal", "TestBackPressure",
	},
	{
		9, "work in the background is limited and yields", "what was done ahead of the rate is waited for",
		"engine/pace.go",
		`d = max(d, p.free.Sub(now))`,
		`_ = d`,
		"./engine", "TestPacer",
	},
	{
		10, "full drives refuse new bytes early and keep room for removals", "bulk volumes leave the reserve",
		"engine/volume/space.go",
		`left -= int64(s.opts.Reserve)*s.journalLen + s.bulkLen`,
		`left -= 0`,
		"./engine/volume", "TestFull",
	},
	{
		11, "an unknown version of a format is refused", "a drive that a later version wrote is not touched",
		"engine/drive/identity.go",
		`if version.Format > identityFormat {`,
		`if version.Format < 0 {`,
		"./engine/drive", "TestDamagedIdentity|TestInspect|TestScan",
	},
	{
		12, "no secret is shown", "credentials print their access key alone",
		"tools/penstock/credentials.go",
		`func (c credentials) String() string   { return c.AccessKey }`,
		`func (c credentials) String() string   { return c.AccessKey + c.SecretKey }`,
		"./tools/penstock", "TestRootCredentials",
	},
}
