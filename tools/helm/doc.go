// Package helm holds the chart that runs nodes on Kubernetes, in penstock, and its test.
package helm
