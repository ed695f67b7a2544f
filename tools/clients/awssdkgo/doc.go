// Package awssdkgo runs aws-sdk-go-v2 and its transfer manager against the real binary, over HTTP, where it signs a
// digest of every body, and over TLS, where it sends unsigned bodies with a checksum in a trailer.
package awssdkgo
