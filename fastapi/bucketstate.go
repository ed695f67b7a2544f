package fastapi

import (
	"sync"

	"penstock/engine"
	"penstock/fastapi/policy"
)

// bucketState is what the attributes of a bucket mean, worked out once for each revision of it.
type bucketState struct {
	info   engine.BucketInfo
	policy *policy.Policy // nil if it has none.
	public bool           // The policy is public.
	block  publicBlock
	lists  bool // Access control lists count.
	acl    acl
	cors   []corsRule
	rules  *engine.Rules // nil if it has none.
}

// maxBucketStates bounds the buckets whose state is kept. More than these in use at once cost a parse of their policy each.
const maxBucketStates = 10_000

// bucketStates remembers states by bucket.
type bucketStates struct {
	mu    sync.RWMutex // Guards known.
	known map[string]*bucketState
}

// bucketState returns the state of a bucket as it is now.
func (s *Server) bucketState(name string) (*bucketState, error) {
	info, err := s.store.Bucket(s.ctx, name)
	if err != nil {
		return nil, err
	}
	s.states.mu.RLock()
	b := s.states.known[name]
	s.states.mu.RUnlock()
	if b != nil && b.info.Revision == info.Revision && info.Revision != 0 {
		return b, nil
	}
	if b, err = newBucketState(&info); err != nil {
		return nil, err
	}
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	if s.states.known == nil || len(s.states.known) >= maxBucketStates {
		s.states.known = make(map[string]*bucketState)
	}
	s.states.known[name] = b
	return b, nil
}

// newBucketState reads a bucket's attributes. What cannot be read is an error, so that nobody is let in by it.
func newBucketState(info *engine.BucketInfo) (*bucketState, error) {
	b := &bucketState{info: *info}
	var err error
	if document := info.Attr(attrPolicy); document != "" {
		if b.policy, err = policy.Parse([]byte(document), policy.ForBucket, info.Name); err != nil {
			return nil, errInternal.because(err)
		}
		b.policy.Bind(parsePrincipals(info.Attr(attrPrincipals)))
		b.public = b.policy.Public()
	}
	if b.block, err = parsePublicBlock(info.Attr(attrPublicBlock)); err != nil {
		return nil, err
	}
	b.lists = listsCount(info)
	if b.acl, err = parseACL(info.Attr(attrACL)); err != nil {
		return nil, err
	}
	if b.cors, err = storedCORS(info); err != nil {
		return nil, err
	}
	b.rules, err = engine.RulesOf(info.Attrs)
	return b, err
}
