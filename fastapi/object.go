package fastapi

import (
	"net"
	"strconv"
	"strings"
	"time"

	"penstock/engine"
)

// overrides are the query parameters by which a reader sets headers of the answer.
var overrides = [...]struct{ param, header string }{
	{"response-content-type", "Content-Type"},
	{"response-content-language", "Content-Language"},
	{"response-expires", "Expires"},
	{"response-cache-control", "Cache-Control"},
	{"response-content-disposition", "Content-Disposition"},
	{"response-content-encoding", "Content-Encoding"},
}

var overrideParams = func() (names []string) {
	for _, o := range overrides {
		names = append(names, o.param)
	}
	return names
}()

// maxCopiedLen is the longest body that is copied into the answer's buffer, to leave with the headers in one write. Longer
// ones are written from where they are.
const maxCopiedLen = 16 << 10

// getObject answers GetObject and HeadObject.
func (r *request) getObject() error {
	version, err := r.version()
	if err != nil {
		return err
	}
	if err := r.checkOverrides(); err != nil {
		return err
	}
	if r.ctx.IsHead() {
		info, err := r.srv.store.Head(r.srv.ctx, r.bucket, r.key, version)
		if err != nil {
			return err
		}
		want, err := r.selectBytes(&info)
		if err != nil || want.notModified {
			return err
		}
		r.ctx.Response.SkipBody = true
		r.ctx.Response.Header.SetContentLength(int(want.len))
		return nil
	}
	handle, err := r.srv.store.Open(r.srv.ctx, r.bucket, r.key, version)
	if err != nil {
		return err
	}
	sent := false
	defer func() {
		if !sent {
			handle.Close()
		}
	}()
	want, err := r.selectBytes(handle.Info())
	if err != nil || want.notModified {
		return err
	}
	sent, err = r.send(handle, want)
	return err
}

// send makes the object's bytes the answer's body. It reports whether it has taken over the handle.
func (r *request) send(handle engine.Handle, want selection) (bool, error) {
	if want.len == 0 {
		r.ctx.Response.Header.SetContentLength(0)
		return false, nil
	}
	body, err := handle.Body(r.srv.ctx, want.off, want.len)
	if err != nil {
		return false, err
	}
	if want.len <= maxCopiedLen {
		defer body.Close()
		n, err := body.WriteTo(r.ctx.Response.BodyWriter())
		if err == nil && n != want.len {
			err = errInternal
		}
		return false, err
	}
	if r.conn != nil && net.Conn(r.conn) == r.ctx.Conn() { // Without TLS, that is.
		r.conn.cork()
		r.ctx.Response.ImmediateHeaderFlush = true
	}
	r.answerStream(&download{
		handle: handle, body: body, conn: r.ctx.Conn(), stall: r.srv.opts.WriteStall, log: r.srv.log, id: r.id,
	}, int(want.len))
	return true, nil
}

// selection is what of an object a request is to be answered with.
type selection struct {
	byteRange
	notModified bool
}

// selectBytes evaluates the conditions, then the range or part number, and sets status and headers accordingly.
func (r *request) selectBytes(info *engine.ObjectInfo) (selection, error) {
	conds := readConditions(&r.head, "")
	err := conds.checkRead(info.ETag, info.Modified)
	if err == errNotModified {
		r.ctx.Response.SetStatusCode(304)
		r.setValidators(info)
		for i := range info.Attrs {
			if name := info.Attrs[i].Name; name == "cache-control" || name == "expires" {
				r.setHeader(canonicalNames[name], info.Attrs[i].Value)
			}
		}
		return selection{notModified: true}, nil
	}
	if err != nil {
		return selection{}, err
	}
	want, part, err := r.selectRange(info)
	if err != nil {
		return selection{}, err
	}
	r.setObjectHeaders(info)
	r.setChecksum(info, want.byteRange, part)
	r.applyOverrides()
	if want.partial {
		r.ctx.Response.SetStatusCode(206)
		var buf [80]byte
		r.ctx.Response.Header.SetBytesV("Content-Range", appendContentRange(buf[:0], want.byteRange, info.Size))
	}
	return want, nil
}

// selectRange finds the bytes asked for, and the part when it was asked for by number.
func (r *request) selectRange(info *engine.ObjectInfo) (selection, *engine.PartInfo, error) {
	header := r.head.get("range")
	number, err := r.partNumber()
	switch {
	case err != nil:
		return selection{}, nil, err
	case number > 0 && header != "":
		return selection{}, nil, errInvalidRequest.message("Cannot specify both Range header and partNumber query parameter")
	case number > 0:
		return r.selectPart(info, number)
	case header != "" && !r.ifRange(info):
		header = ""
	}
	want, err := parseRange(header, info.Size)
	if err != nil {
		return selection{}, nil, errInvalidRange.with("RangeRequested", header).with("ActualObjectSize", itoa64(info.Size))
	}
	return selection{byteRange: want}, nil, nil
}

// partNumber reads the parameter of that name; 0 means that there is none.
func (r *request) partNumber() (int, error) {
	s, ok := r.target.get("partNumber")
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > engine.MaxPartNumber || s[0] == '+' {
		return 0, invalidArgument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", s)
	}
	return n, nil
}

// selectPart finds a part's bytes. An object that was put whole is its own part 1.
func (r *request) selectPart(info *engine.ObjectInfo, number int) (selection, *engine.PartInfo, error) {
	if len(info.Parts) == 0 {
		if number != 1 {
			return selection{}, nil, errInvalidPartNumber.with("PartNumberRequested", itoa(number)).with("ActualPartCount", "1")
		}
		return selection{byteRange: byteRange{0, info.Size, info.Size > 0}}, nil, nil
	}
	off := int64(0)
	for i := range info.Parts {
		if part := &info.Parts[i]; part.Number == number {
			r.setHeader("x-amz-mp-parts-count", itoa(len(info.Parts)))
			return selection{byteRange: byteRange{off, part.Size, part.Size > 0}}, part, nil
		}
		off += info.Parts[i].Size
	}
	return selection{}, nil, errInvalidPartNumber.with("PartNumberRequested", itoa(number)).with("ActualPartCount", itoa(len(info.Parts)))
}

// ifRange reports whether the If-Range header, if any, still holds.
func (r *request) ifRange(info *engine.ObjectInfo) bool {
	value, ok := r.head.lookup("if-range")
	if !ok {
		return true
	}
	if strings.HasPrefix(value, `"`) || !strings.ContainsRune(value, ' ') {
		return unquote(value) == info.ETag // Strong comparison: a weak tag never matches (RFC 9110, 13.1.5).
	}
	t := parseHTTPDate(value)
	return !t.IsZero() && t.Equal(info.Modified.Truncate(time.Second))
}

// canonicalNames are the system headers as they are spelt in answers.
var canonicalNames = map[string]string{
	"content-type": "Content-Type", "cache-control": "Cache-Control", "content-disposition": "Content-Disposition",
	"content-encoding": "Content-Encoding", "content-language": "Content-Language", "expires": "Expires",
}

func (r *request) setValidators(info *engine.ObjectInfo) {
	r.setETag(info.ETag)
	r.setVersion(info)
	r.setTime("Last-Modified", info.Modified)
}

// setObjectHeaders sets the headers that describe an object.
func (r *request) setObjectHeaders(info *engine.ObjectInfo) {
	h := &r.ctx.Response.Header
	r.setValidators(info)
	r.setLock(info)
	if _, named := r.target.get("versionId"); !named {
		r.setExpiry(info)
	}
	r.setHeader("Accept-Ranges", "bytes")
	hasType := false
	for i := range info.Attrs {
		name, value := info.Attrs[i].Name, printable(info.Attrs[i].Value)
		switch {
		case strings.HasPrefix(name, metaPrefix):
			if name == printable(name) && !strings.ContainsAny(name, " :") {
				h.Set(name, value)
			}
		case name == attrTagging:
			r.setTagCount(info.Attrs[i].Value)
		case name == attrStorageClass:
			h.Set("x-amz-storage-class", value)
		case name == "content-type":
			h.SetContentType(value)
			hasType = true
		default:
			if canonical, ok := canonicalNames[name]; ok {
				h.Set(canonical, value)
			}
		}
	}
	if !hasType {
		h.SetContentType(defaultContentType)
	}
}

// printable replaces what would break out of a header. Nothing like it comes in through a header; this is for what was stored by
// other means.
func printable(value string) string {
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return strings.Map(func(r rune) rune {
				if r < ' ' && r != '\t' || r == 0x7f {
					return ' '
				}
				return r
			}, value)
		}
	}
	return value
}

// setChecksum shows the checksum of the bytes that are sent, when asked for and known: of the object, or of one part.
// A client compares it with what it received, so a range has none.
func (r *request) setChecksum(info *engine.ObjectInfo, want byteRange, part *engine.PartInfo) {
	if !strings.EqualFold(r.head.get("x-amz-checksum-mode"), "ENABLED") {
		return
	}
	alg, value, kind := storedChecksum(info.Attrs)
	if alg == algNone || want.partial && part == nil && want.len != info.Size {
		return
	}
	if part != nil {
		if value = partChecksum(part.Attrs, alg); value == "" {
			return
		}
	}
	r.setHeader(alg.header(), value)
	r.setHeader("x-amz-checksum-type", kind)
}

// checkOverrides refuses overrides that would break out of their header, and those that nobody has signed: a link that a stranger can
// make would otherwise have a public object say what the stranger wants.
func (r *request) checkOverrides() error {
	for i := range r.params {
		p := &r.params[i]
		if !strings.HasPrefix(p.name, "response-") {
			continue
		}
		if r.identity == anonymous {
			return errInvalidRequest.message("Request specific response headers cannot be used for anonymous GET requests.")
		}
		for j := 0; j < len(p.value); j++ {
			if c := p.value[j]; c < ' ' && c != '\t' || c == 0x7f {
				return invalidArgument("A response header cannot hold control characters", p.name, "")
			}
		}
	}
	return nil
}

func (r *request) applyOverrides() {
	for i := range r.params {
		if p := &r.params[i]; strings.HasPrefix(p.name, "response-") {
			for _, o := range overrides {
				if o.param == p.name && p.value != "" {
					r.setHeader(o.header, p.value)
				}
			}
		}
	}
}

// putObject answers PutObject.
func (r *request) putObject() error {
	attrs, err := r.readAttrs()
	if err != nil {
		return err
	}
	check, err := r.earlyCheck()
	if err != nil {
		return err
	}
	size, err := r.bodyLen()
	if err != nil {
		return err
	}
	want, err := readChecksum(&r.head)
	if err != nil {
		return err
	}
	if err := r.requireDigest(want); err != nil {
		return err
	}
	if want.alg == algNone {
		want.alg = algCRC64NVME // Amazon keeps it too; the engine has it for nothing.
	}
	b, err := r.openBody(size, want)
	if err != nil {
		return err
	}
	defer b.close()
	info, err := r.srv.store.Put(r.srv.ctx, r.bucket, r.key, b, engine.PutOptions{Size: size, Attrs: attrs, Check: check, Finish: b.finish})
	if err != nil {
		return err
	}
	r.setETag(info.ETag)
	for _, h := range r.srv.made(r.bucket, &info) {
		r.setHeader(h.name, h.value)
	}
	r.setStoredChecksum(info.Attrs)
	return nil
}

// earlyCheck returns the check of a conditional write, after trying it once on what is there now: a write that is bound to
// be refused need not send its body.
func (r *request) earlyCheck() (engine.Check, error) {
	conds := readConditions(&r.head, "")
	check, err := conds.writeCheck()
	if check == nil || err != nil {
		return nil, err
	}
	info, err := r.srv.store.Head(r.srv.ctx, r.bucket, r.key, engine.CurrentVersion)
	switch {
	case err == nil:
		err = check(&info)
	case engine.KindOf(err) == engine.KindNoSuchObject, engine.KindOf(err) == engine.KindDeleteMarker:
		err = check(nil)
	}
	return check, err
}

// setStoredChecksum shows the checksum that was kept with what the request has written.
func (r *request) setStoredChecksum(attrs []engine.Attr) {
	if alg, value, kind := storedChecksum(attrs); alg != algNone {
		r.setHeader(alg.header(), value)
		r.setHeader("x-amz-checksum-type", kind)
	}
}

// deleteObject answers DeleteObject. An object that is not there is as good as deleted.
func (r *request) deleteObject() error {
	version, err := r.version()
	if err != nil {
		return err
	}
	conds, err := readDeleteConditions(&r.head)
	if err != nil {
		return err
	}
	check, err := conds.check()
	if err != nil {
		return err
	}
	deleted, err := r.srv.store.Delete(r.srv.ctx, r.bucket, r.key, version, engine.DeleteOptions{Check: check, Bypass: r.bypasses(r.key, version)})
	if err != nil {
		return err
	}
	if deleted.Marker {
		r.setHeader(headerMarker, "true")
	}
	if deleted.Versioned {
		r.setHeader("x-amz-version-id", formatVersion(deleted.Version))
	}
	return r.answerEmpty(204)
}
