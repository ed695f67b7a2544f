package engine

// HeapShare returns how much of Options.Memory lies on the Go heap, as caches and the index. The rest is arenas, which the
// garbage collector neither sees nor counts.
func HeapShare(memory int64) int64 {
	_, rest := splitMemory(memory)
	return rest
}
