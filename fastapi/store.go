package fastapi

import (
	"context"
	"io"

	"penstock/engine"
)

// Store is what this package needs of the object store. Errors are *engine.Error.
type Store interface {
	CreateBucket(ctx context.Context, name string, attrs []engine.Attr) error
	DeleteBucket(ctx context.Context, name string) error
	Bucket(ctx context.Context, name string) (engine.BucketInfo, error)
	UpdateBucket(ctx context.Context, name string, change func(engine.BucketInfo) ([]engine.Attr, error)) error
	ListBuckets(ctx context.Context, prefix, after string, max int) (engine.BucketPage, error)

	Put(ctx context.Context, bucket, key string, body io.Reader, o engine.PutOptions) (engine.ObjectInfo, error)
	Open(ctx context.Context, bucket, key string, version engine.VersionID) (engine.Handle, error)
	Head(ctx context.Context, bucket, key string, version engine.VersionID) (engine.ObjectInfo, error)
	Delete(ctx context.Context, bucket, key string, version engine.VersionID, o engine.DeleteOptions) (engine.Deleted, error) // An absent key is no error.
	Copy(ctx context.Context, srcBucket, srcKey string, srcVersion engine.VersionID, bucket, key string, o engine.CopyOptions) (engine.ObjectInfo, error)
	UpdateObjectAttrs(ctx context.Context, bucket, key string, version engine.VersionID, change func(*engine.ObjectInfo) ([]engine.Attr, error)) (engine.ObjectInfo, error)
	ListVersions(ctx context.Context, bucket string, o engine.VersionListOptions) (engine.VersionPage, error)
	SetLock(ctx context.Context, bucket, key string, version engine.VersionID, bypass bool, change func(engine.Lock) (engine.Lock, error)) (engine.ObjectInfo, error)
	List(ctx context.Context, bucket string, o engine.ListOptions) (engine.ListPage, error)

	CreateUpload(ctx context.Context, bucket, key string, attrs []engine.Attr) (id string, err error)
	Upload(ctx context.Context, bucket, key, id string) (engine.UploadInfo, error)
	PutPart(ctx context.Context, bucket, key, id string, number int, body io.Reader, o engine.PutOptions) (engine.PartInfo, error)
	CopyPart(ctx context.Context, srcBucket, srcKey string, srcVersion engine.VersionID, bucket, key, id string, number int, o engine.CopyPartOptions) (engine.PartInfo, error)
	CompleteUpload(ctx context.Context, bucket, key, id string, o engine.CompleteOptions) (engine.ObjectInfo, error)
	AbortUpload(ctx context.Context, bucket, key, id string) error
	ListParts(ctx context.Context, bucket, key, id string, after, max int) (engine.PartPage, error)
	ListUploads(ctx context.Context, bucket string, o engine.UploadListOptions) (engine.UploadPage, error)

	Ready(ctx context.Context) error
	Crowded() bool // Writes were refused lately for want of memory that other writes hold.
}
