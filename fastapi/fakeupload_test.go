package fastapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"penstock/engine"
)

type fakeUpload struct {
	info   engine.UploadInfo
	bucket string
	seq    int
	parts  map[int]*fakePart
}

type fakePart struct {
	info engine.PartInfo
	data []byte
}

func (s *fakeStore) CreateUpload(_ context.Context, bucket, key string, attrs []engine.Attr) (string, error) {
	defer s.mu.Unlock()
	if err := s.enter("CreateUpload", key); err != nil {
		return "", err
	}
	b, err := s.bucket(bucket)
	if err == nil {
		_, err = b.lockNew(attrs)
	}
	if err != nil {
		return "", err
	}
	s.nextID++
	id := fmt.Sprintf("upload-%04d", s.nextID)
	s.uploads[id] = &fakeUpload{engine.UploadInfo{ID: id, Key: key, Initiated: s.now(), Attrs: attrs}, bucket, s.nextID, map[int]*fakePart{}}
	return id, nil
}

func (s *fakeStore) upload(bucket, key, id string) (*fakeUpload, error) {
	if _, err := s.bucket(bucket); err != nil {
		return nil, err
	}
	u := s.uploads[id]
	if u == nil || u.bucket != bucket || u.info.Key != key {
		return nil, kindError(engine.KindNoSuchUpload, bucket, key)
	}
	return u, nil
}

func (s *fakeStore) Upload(_ context.Context, bucket, key, id string) (engine.UploadInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("Upload", key); err != nil {
		return engine.UploadInfo{}, err
	}
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return engine.UploadInfo{}, err
	}
	return u.info, nil
}

func (s *fakeStore) PutPart(_ context.Context, bucket, key, id string, number int, body io.Reader, o engine.PutOptions) (engine.PartInfo, error) {
	if err := s.first("PutPart", key, func() error { _, err := s.upload(bucket, key, id); return err }); err != nil {
		return engine.PartInfo{}, err
	}
	data, final, err := receive(body, o)
	if err != nil {
		return engine.PartInfo{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addPart(bucket, key, id, number, data, final)
}

func (s *fakeStore) addPart(bucket, key, id string, number int, data []byte, final engine.Final) (engine.PartInfo, error) {
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return engine.PartInfo{}, err
	}
	info := engine.PartInfo{Number: number, Size: int64(len(data)), ETag: final.ETag, Modified: s.now(), Attrs: final.Attrs}
	u.parts[number] = &fakePart{info, data}
	return info, nil
}

func (s *fakeStore) CopyPart(_ context.Context, srcBucket, srcKey string, srcVersion engine.VersionID, bucket, key, id string, number int, o engine.CopyPartOptions) (engine.PartInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("CopyPart", key); err != nil {
		return engine.PartInfo{}, err
	}
	src, err := s.object(srcBucket, srcKey, srcVersion)
	if err != nil {
		return engine.PartInfo{}, err
	}
	if err := o.Source(&src.info); err != nil {
		return engine.PartInfo{}, causeError(engine.KindPrecondition, srcBucket, srcKey, err)
	}
	n := o.Len
	if n < 0 {
		n = src.info.Size - o.Off
	}
	if o.Off+n > src.info.Size {
		return engine.PartInfo{}, kindError(engine.KindInvalidRange, srcBucket, srcKey)
	}
	data := src.data[o.Off : o.Off+n]
	if o.Hash != nil {
		s.hashedCopies++
		o.Hash.Write(data)
	}
	final, err := o.Finish(engine.Sums{Size: n, CRC64NVME: engine.CRC64NVME(data), HasCRC: true})
	if err != nil {
		return engine.PartInfo{}, causeError(engine.KindBody, bucket, key, err)
	}
	return s.addPart(bucket, key, id, number, data, final)
}

func (s *fakeStore) CompleteUpload(_ context.Context, bucket, key, id string, o engine.CompleteOptions) (engine.ObjectInfo, error) {
	defer s.mu.Unlock()
	if err := s.enter("CompleteUpload", key); err != nil {
		return engine.ObjectInfo{}, err
	}
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	info := engine.ObjectInfo{Key: key}
	var data []byte
	var parts []engine.PartInfo
	for i, want := range o.Parts {
		if i > 0 && want.Number <= o.Parts[i-1].Number {
			return engine.ObjectInfo{}, kindError(engine.KindInvalidPartOrder, bucket, key)
		}
		p := u.parts[want.Number]
		if p == nil || p.info.ETag != want.ETag {
			return engine.ObjectInfo{}, kindError(engine.KindInvalidPart, bucket, key)
		}
		if i < len(o.Parts)-1 && p.info.Size < engine.MinPartLen {
			return engine.ObjectInfo{}, kindError(engine.KindPartTooSmall, bucket, key)
		}
		data = append(data, p.data...)
		parts = append(parts, p.info)
	}
	final, err := o.Finish(parts, u.info.Attrs)
	if err != nil {
		return engine.ObjectInfo{}, causeError(engine.KindBody, bucket, key, err)
	}
	info.Size, info.ETag, info.Attrs = int64(len(data)), final.ETag, joined(u.info.Attrs, final.Attrs)
	for _, p := range parts {
		info.Parts = append(info.Parts, engine.PartInfo{Number: p.Number, Size: p.Size, Attrs: p.Attrs})
	}
	out, err := s.commit(bucket, key, info, data, o.Check)
	if err == nil {
		delete(s.uploads, id)
	}
	return out, err
}

func (s *fakeStore) AbortUpload(_ context.Context, bucket, key, id string) error {
	defer s.mu.Unlock()
	if err := s.enter("AbortUpload", key); err != nil {
		return err
	}
	if _, err := s.upload(bucket, key, id); err != nil {
		return err
	}
	delete(s.uploads, id)
	return nil
}

func (s *fakeStore) ListParts(_ context.Context, bucket, key, id string, after, max int) (page engine.PartPage, err error) {
	defer s.mu.Unlock()
	if err := s.enter("ListParts", key); err != nil {
		return page, err
	}
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return page, err
	}
	page.Upload = u.info
	numbers := make([]int, 0, len(u.parts))
	for n := range u.parts {
		numbers = append(numbers, n)
	}
	sort.Ints(numbers)
	for _, n := range numbers {
		if n <= after {
			continue
		}
		if len(page.Parts) == max {
			page.Truncated = true
			break
		}
		page.Parts = append(page.Parts, u.parts[n].info)
		page.Next = n
	}
	return page, nil
}

func (s *fakeStore) ListUploads(_ context.Context, bucket string, o engine.UploadListOptions) (page engine.UploadPage, err error) {
	defer s.mu.Unlock()
	if err := s.enter("ListUploads", ""); err != nil {
		return page, err
	}
	if _, err := s.bucket(bucket); err != nil {
		return page, err
	}
	if o.IDMarker != "" && !strings.HasPrefix(o.IDMarker, "upload-") {
		return page, causeError(engine.KindNoSuchUpload, bucket, "", errors.New("bad marker"))
	}
	var all []*fakeUpload
	for _, u := range s.uploads {
		if u.bucket == bucket && strings.HasPrefix(u.info.Key, o.Prefix) {
			all = append(all, u)
		}
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].info.Key != all[j].info.Key {
			return all[i].info.Key < all[j].info.Key
		}
		return all[i].seq < all[j].seq
	})
	lastPrefix := ""
	for _, u := range all {
		if u.info.Key < o.KeyMarker || u.info.Key == o.KeyMarker && (o.IDMarker == "" || u.info.ID <= o.IDMarker) {
			continue
		}
		if i := strings.Index(u.info.Key[len(o.Prefix):], o.Delimiter); o.Delimiter != "" && i >= 0 {
			prefix := u.info.Key[:len(o.Prefix)+i+len(o.Delimiter)]
			if prefix == lastPrefix || prefix <= o.KeyMarker {
				continue
			}
			if len(page.Uploads)+len(page.Prefixes) == o.Max {
				page.Truncated = true
				break
			}
			lastPrefix = prefix
			page.Prefixes = append(page.Prefixes, prefix)
			page.NextKey, page.NextID = prefix, ""
			continue
		}
		if len(page.Uploads)+len(page.Prefixes) == o.Max {
			page.Truncated = true
			break
		}
		page.Uploads = append(page.Uploads, u.info)
		page.NextKey, page.NextID = u.info.Key, u.info.ID
	}
	return page, nil
}
