package meta

import "github.com/cockroachdb/pebble/v2"

// View is the index as it was at one instant. Objects and their blobs agree in it, however long it is kept. It holds
// back what Pebble would otherwise drop, so it lives as long as a request and no longer.
type View struct{ snapshot *pebble.Snapshot }

// View returns the index as it is now. The caller closes it.
func (x *Index) View() *View { return &View{x.db.NewSnapshot()} }

// Close ends the view. It may be called once.
func (v *View) Close() error { return v.snapshot.Close() }

// GetObject is like that of Index.
func (v *View) GetObject(bucket BucketID, key string, version VersionID) (o Object, found bool, err error) {
	return objectOf(v.snapshot, bucket, key, version, func(r *reader, o *Object) { r.object(o) })
}

// GetBlob is like that of Index.
func (v *View) GetBlob(id BlobID) (b Blob, found bool, err error) { return blobOf(v.snapshot, id) }
