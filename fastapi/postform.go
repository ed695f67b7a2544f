package fastapi

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"time"

	"penstock/fastapi/sigv4"
)

// form is the body of a PostObject request up to the file: what a browser sends when somebody submits an upload form.
type form struct {
	headers // The fields, by name in lower case. Many are those of a PutObject under the names of its headers.
	file    *multipart.Part
	name    string // Of the file, as the browser has it, without directories.
	wire    *formWire
}

const (
	// maxFormLen is Amazon's bound on the fields before the file. The lines around them come on top.
	maxFormLen  = 20 << 10
	maxFormWire = 64 << 10
)

// formWire reads the body of a form, and no more than maxFormWire of it before the file.
type formWire struct {
	src  io.Reader
	left int // -1 from the file on.
}

func (w *formWire) Read(p []byte) (int, error) {
	if w.left < 0 {
		return w.src.Read(p)
	}
	if w.left == 0 {
		return 0, errFormTooLong
	}
	n, err := w.src.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}

// readForm reads the fields of an upload form. The file is the last of them; what follows it is not looked at.
func (r *request) readForm(src io.Reader) (*form, error) {
	kind, params, err := mime.ParseMediaType(r.head.get("content-type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, errPrecondition.message("At least one of the pre-conditions you specified did not hold").
			with("Condition", "Bucket POST must be of the enclosure-type multipart/form-data")
	}
	f := &form{wire: &formWire{src, maxFormWire}}
	parts := multipart.NewReader(f.wire, params["boundary"])
	length := 0
	for {
		part, err := parts.NextRawPart() // What a part says of its encoding is none of our business: the bytes are the field.
		if err == io.EOF {
			return nil, invalidArgument("POST requires exactly one file upload per request.", "file", "0")
		}
		if err != nil {
			return nil, formError(err)
		}
		name := strings.ToLower(part.FormName())
		if name == "file" {
			f.file, f.name = part, baseName(part)
			f.wire.left = -1
			return f, nil
		}
		value, err := io.ReadAll(io.LimitReader(part, maxFormLen+1))
		if err != nil {
			return nil, formError(err)
		}
		if length += len(name) + len(value); length > maxFormLen {
			return nil, errFormTooLong
		}
		if _, twice := f.lookup(name); twice || name == "" {
			return nil, invalidArgument("A field of the form has no name, or comes twice.", name, "")
		}
		f.add(name, string(value))
	}
}

// formError says what a failure to read a form means to the client.
func formError(err error) error {
	if _, ok := errors.AsType[*apiError](err); ok {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errIncompleteBody
	}
	return errMalformedPost.because(err)
}

// baseName is the name of the file without the directories that some browsers send.
func baseName(part *multipart.Part) string {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil {
		return ""
	}
	name := params["filename"]
	return name[strings.LastIndexAny(name, `/\`)+1:]
}

// authenticateForm verifies who has signed the form. One that is not signed is whoever sent it, which may be nobody.
func (r *request) authenticateForm(f *form) error {
	signed := false
	for _, name := range []string{"policy", "x-amz-signature", "x-amz-credential", "x-amz-algorithm", "awsaccesskeyid", "signature"} {
		if _, ok := f.lookup(name); ok {
			signed = true
		}
	}
	if !signed {
		return nil
	}
	if r.identity != anonymous {
		return errInvalidArgument.message("Only one auth mechanism allowed; the form is signed, and so is the request.")
	}
	if _, ok := f.lookup("awsaccesskeyid"); ok {
		return errInvalidRequest.message("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
	}
	for _, name := range []string{"policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"} {
		if f.get(name) == "" {
			return invalidArgument("Bucket POST must contain a field named '"+name+"'.  If it is specified, please check the order of the fields.", name, "")
		}
	}
	verified, err := r.srv.verifier.VerifyForm(&sigv4.Form{
		Algorithm: f.get("x-amz-algorithm"), Credential: f.get("x-amz-credential"), Date: f.get("x-amz-date"),
		Signature: f.get("x-amz-signature"), Token: f.get("x-amz-security-token"), Policy: f.get("policy"),
	})
	if err != nil {
		return authError(err)
	}
	r.setIdentity(verified)
	at, err := time.Parse("20060102T150405Z", f.get("x-amz-date"))
	r.auth = &sigv4.Auth{Time: at}
	return err
}
