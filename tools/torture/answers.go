package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"penstock/tools/harness"
)

// answerLimit is how long any request may take, whatever the drives do, on a machine that is busy with other things.
const answerLimit = 90 * time.Second

// newClient returns a client that never tries again: the oracle must know of each attempt.
func newClient(endpoint string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &endpoint,
		Region:       "us-east-1",
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(harness.AccessKey, harness.SecretKey, ""),
		HTTPClient: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers, DisableCompression: true},
			Timeout:   answerLimit,
		},
		Retryer: aws.NopRetryer{},
	})
}

// errWrong is in the errors of answers that contradict what is known, as opposed to those of a node that is gone.
var errWrong = errors.New("wrong answer")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errWrong, fmt.Sprintf(format, args...))
}

// An answer is what an error of a request means for what was asked.
type answer int

const (
	success answer = iota
	refused        // For want of buffers or of room: it did not happen.
	failed         // The node cannot do it now, or does not know whether it did.
	denied         // It says that what was asked for is not so.
	silent         // There was no answer.
)

func answerOf(err error) answer {
	if err == nil {
		return success
	}
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	switch {
	case !ok:
		return silent
	case isCode(err, "SlowDown"), response.HTTPStatusCode() == http.StatusInsufficientStorage:
		return refused
	case response.HTTPStatusCode() >= 500:
		return failed
	case response.HTTPStatusCode() < 300:
		return silent // Its body broke off.
	}
	return denied
}

func isCode(err error, codes ...string) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	for _, code := range codes {
		if api.ErrorCode() == code {
			return true
		}
	}
	return false
}

// get returns an object's bytes and ETag; the bytes are nil when it is absent.
func get(ctx context.Context, client *s3.Client, in *s3.GetObjectInput) ([]byte, string, error) {
	out, err := client.GetObject(ctx, in)
	if isCode(err, "NoSuchKey", "NoSuchVersion") {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer out.Body.Close()
	buffer := bytes.NewBuffer(make([]byte, 0, *out.ContentLength))
	if _, err := io.Copy(buffer, out.Body); err != nil {
		return nil, "", err
	}
	return buffer.Bytes()[:buffer.Len():buffer.Len()], *out.ETag, nil
}
