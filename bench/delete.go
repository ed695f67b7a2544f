package bench

import "fmt"

func checkDelete(o *Options) error {
	if o.Delete.Batch < 1 || o.Delete.Batch > maxPage {
		return fmt.Errorf("batches of %d keys; S3 takes 1 to %d", o.Delete.Batch, maxPage)
	}
	return nil
}

func deleteBatches(o *Options) uint64 {
	return uint64((o.Objects + o.Delete.Batch - 1) / o.Delete.Batch)
}

func stepDelete(w *worker, n uint64) {
	batch := uint64(w.run.opts.Delete.Batch)
	if batch == 1 {
		w.delete(n)
		return
	}
	w.deleteBatch(w.run.objects, n*batch, min((n+1)*batch, uint64(w.run.opts.Objects)))
}

func (w *worker) delete(n uint64) error {
	w.object("DELETE", w.run.objects, n)
	return w.do(Delete, 0)
}

func deleteDetails(o *Options) string { return fmt.Sprintf("batches of %d", o.Delete.Batch) }
