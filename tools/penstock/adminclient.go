package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"penstock/fastapi"
	"penstock/fastapi/admin"
	"penstock/fastapi/sigv4"
)

// serverEnv names the node that commands talk to.
const serverEnv = envPrefix + "SERVER"

// An adminClient calls the administration API of a node. Its flags are those of every command that does; call parses them at the first call.
type adminClient struct {
	server, region  string
	ca, cert, key   string
	insecure, json  bool
	credentialsFile string
	getenv          func(string) string
	stdout          io.Writer

	base   *url.URL
	http   *http.Client
	signer sigv4.Signer
}

func (c *adminClient) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.server, "server", "", "URL of the node (default "+serverEnv+" of the environment, or http://"+defaultAddress+")")
	flags.StringVar(&c.credentialsFile, "credentials", "", "file with the root pair as a drive has it, such as DRIVE/"+rootFile)
	flags.StringVar(&c.region, "region", fastapi.DefaultRegion, "region to sign for")
	flags.StringVar(&c.ca, "ca", "", "file with the certificates to trust, in PEM (default those of the system)")
	flags.StringVar(&c.cert, "client-cert", "", "file with the certificate to show to the node, in PEM")
	flags.StringVar(&c.key, "client-key", "", "file with its key, in PEM")
	flags.BoolVar(&c.insecure, "insecure", false, "do not check the node's certificate")
	flags.BoolVar(&c.json, "json", false, "print what the node answers, as JSON")
}

// prepare makes the client ready to call. Its errors are mistakes of the operator.
func (c *adminClient) prepare() error {
	if c.http != nil {
		return nil
	}
	server := strings.TrimSuffix(cmp.Or(c.server, c.getenv(serverEnv), "http://"+defaultAddress), "/")
	base, err := url.Parse(server)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.Path != "" {
		return fmt.Errorf("%q is not the URL of a node, such as http://%s", server, defaultAddress)
	}
	if c.signer, err = c.pair(); err != nil {
		return err
	}
	config := &tls.Config{InsecureSkipVerify: c.insecure}
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate in PEM", c.ca)
		}
	}
	if (c.cert == "") != (c.key == "") {
		return errors.New("--client-cert and --client-key go together")
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	c.base, c.http = base, &http.Client{Transport: &http.Transport{TLSClientConfig: config, ResponseHeaderTimeout: 3 * time.Minute}}
	return nil
}

// pair finds the credentials: those of a file, or of the environment.
func (c *adminClient) pair() (sigv4.Signer, error) {
	if c.credentialsFile != "" {
		content, err := os.ReadFile(c.credentialsFile)
		if err != nil {
			return sigv4.Signer{}, err
		}
		var pair credentials
		if err := json.Unmarshal(content, &pair); err != nil || pair.AccessKey == "" || pair.SecretKey == "" {
			return sigv4.Signer{}, fmt.Errorf("%s holds no access_key and secret_key in JSON", c.credentialsFile)
		}
		return sigv4.Signer{AccessKey: pair.AccessKey, Secret: pair.SecretKey, Region: c.region}, nil
	}
	for _, names := range [][3]string{{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}, {accessKeyEnv, secretKeyEnv, ""}} {
		access, err := secretEnv(names[0], c.getenv)
		if err != nil {
			return sigv4.Signer{}, err
		}
		secret, err := secretEnv(names[1], c.getenv)
		if err != nil {
			return sigv4.Signer{}, err
		}
		switch {
		case access != "" && secret != "":
			s := sigv4.Signer{AccessKey: access, Secret: secret, Region: c.region}
			if names[2] != "" {
				s.Token = c.getenv(names[2])
			}
			return s, nil
		case access != "" || secret != "":
			return sigv4.Signer{}, fmt.Errorf("%s and %s go together: one is set, the other is not", names[0], names[1])
		}
	}
	return sigv4.Signer{}, fmt.Errorf("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --credentials DRIVE/%s", rootFile)
}

// call sends a request for a path below admin.Prefix, with in as its document unless it is nil, and decodes the answer into out unless that
// is nil. With --json the answer is printed as it came instead, and out stays as it was: commands print only if !c.json.
func (c *adminClient) call(ctx context.Context, method, path string, params url.Values, in, out any) error {
	if c.json {
		out = nil
	}
	answer, err := c.fetch(ctx, method, path, params, in, out)
	if err != nil || !c.json {
		return err
	}
	_, err = c.stdout.Write(answer)
	return fail(err)
}

// fetch is call that prints nothing: it also returns the answer as it came.
func (c *adminClient) fetch(ctx context.Context, method, path string, params url.Values, in, out any) ([]byte, error) {
	body, err := c.open(ctx, method, path, params, in)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	answer, err := io.ReadAll(body)
	if err != nil {
		return nil, fail(fmt.Errorf("%s: the answer broke off: %w", c.base, err))
	}
	if out == nil || len(answer) == 0 {
		return answer, nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return nil, fail(fmt.Errorf("%s answered what is no document of its API: %w", c.base, err))
	}
	return answer, nil
}

// open is call for answers that are streams; the caller closes the body.
func (c *adminClient) open(ctx context.Context, method, path string, params url.Values, in any) (io.ReadCloser, error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	var doc []byte
	if in != nil {
		var err error
		if doc, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	target := *c.base
	target.Path = admin.Prefix + path
	target.RawPath = ""
	if raw, err := url.PathUnescape(path); err == nil && raw != path {
		target.Path, target.RawPath = admin.Prefix+raw, admin.Prefix+path
	}
	target.RawQuery = strings.ReplaceAll(params.Encode(), "+", "%20")
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(doc))
	if err != nil {
		return nil, err
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if err := c.sign(request, doc); err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fail(errors.Unwrap(err)) // What is around it repeats method and URL.
	}
	if response.StatusCode/100 == 2 {
		return response.Body, nil
	}
	defer response.Body.Close()
	return nil, c.refusal(response)
}

func (c *adminClient) sign(request *http.Request, doc []byte) error {
	r := sigv4.Request{
		Method: []byte(request.Method), RawPath: []byte(request.URL.EscapedPath()), RawQuery: []byte(request.URL.RawQuery),
		Host: []byte(request.URL.Host), TLS: request.URL.Scheme == "https",
	}
	if _, err := c.signer.Sign(&r, time.Now(), sigv4.Digest(doc)); err != nil {
		return err
	}
	for _, h := range r.Headers {
		request.Header.Set(string(h.Name), string(h.Value))
	}
	return nil
}

// refusal makes an error of an answer that is not 2xx: of the operator below 500, else a failure.
func (c *adminClient) refusal(response *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	err := fmt.Errorf("%s answered %s", c.base, response.Status)
	var f admin.Failure
	if json.Unmarshal(text, &f) == nil && f.Message != "" {
		err = fmt.Errorf("%s (%s, request %s)", strings.TrimSuffix(f.Message, "."), f.Code, f.RequestID)
	}
	if response.StatusCode < 500 {
		return err
	}
	return fail(err)
}

// printJSON writes a document that was put together here.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return fail(e.Encode(v))
}
