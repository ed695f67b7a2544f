package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newHealthCommand() *cobra.Command {
	var live bool
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "health [URL]",
		Short: "Ask a node whether it is ready; for containers, which have no other program to ask with",
		Long: "Ask the node at URL, http://" + defaultAddress + " unless given, whether it serves every request.\n" +
			"Exit code 0 means that it does, 1 that it does not or does not answer. Certificates are not checked: nothing secret is sent.",
		Example: `  penstock health
  penstock health --live https://10.0.0.1:9000`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			endpoint := "http://" + defaultAddress
			if len(args) == 1 {
				endpoint = strings.TrimSuffix(args[0], "/")
			}
			if u, err := url.Parse(endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
				return fmt.Errorf("%q is not a URL such as http://%s", endpoint, defaultAddress)
			}
			path := readyPath
			if live {
				path = livePath
			}
			return fail(askHealth(cmd.Context(), endpoint+path, limit, cmd.OutOrStdout()))
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the process lives")
	cmd.Flags().DurationVar(&limit, "timeout", 5*time.Second, "how long to wait for the answer")
	return cmd
}

// askHealth prints the answer of a health check. Any status but 200 is an error that quotes it.
func askHealth(ctx context.Context, address string, limit time.Duration, w io.Writer) error {
	client := http.Client{
		Timeout:   limit,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, response.Status)
	}
	_, err = io.Copy(w, io.LimitReader(response.Body, 1<<10))
	return err
}
