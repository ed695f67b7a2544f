package admin

import (
	"cmp"
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"penstock/engine"
)

// maxBucketSeries bounds the buckets that have series of their own: those with the most bytes. Users make buckets, and whatever they can make
// without bound must not become series without bound.
const maxBucketSeries = 100

// otherBuckets stands for all the others together. No bucket can have that name.
const otherBuckets = "_others"

type bucketGauge = *engine.BucketUsage

var bucketLabels = []string{"bucket"}

var bucketMetrics = []metric[bucketGauge]{
	gauge("bucket_objects", "Objects in the bucket.", bucketLabels, func(u bucketGauge) float64 { return float64(u.Objects) }),
	gauge("bucket_versions", "Versions of objects in the bucket, delete markers apart.", bucketLabels, func(u bucketGauge) float64 { return float64(u.Versions) }),
	gauge("bucket_delete_markers", "Delete markers in the bucket.", bucketLabels, func(u bucketGauge) float64 { return float64(u.Markers) }),
	gauge("bucket_bytes", "Bytes of all versions in the bucket.", bucketLabels, func(u bucketGauge) float64 { return float64(u.Bytes) }),
	gauge("bucket_uploads", "Multipart uploads in progress in the bucket.", bucketLabels, func(u bucketGauge) float64 { return float64(u.Uploads) }),
	gauge("bucket_part_bytes", "Bytes of the parts of uploads in progress in the bucket.", bucketLabels, func(u bucketGauge) float64 { return float64(u.PartBytes) }),
	gauge("bucket_quota_bytes", "Most bytes that the bucket may hold, parts included; 0 is any number.", bucketLabels, func(u bucketGauge) float64 { return float64(u.Quota) }),
}

var bucketsDesc = prometheus.NewDesc("penstock_buckets", "Buckets.", nil, nil)

// collectBuckets sends what buckets hold. It reads one short entry of the index for each.
func (c Collector) collectBuckets(ch chan<- prometheus.Metric) {
	all, err := c.store.BucketUsages(context.Background())
	if err != nil {
		ch <- prometheus.NewInvalidMetric(bucketsDesc, err)
		return
	}
	ch <- prometheus.MustNewConstMetric(bucketsDesc, prometheus.GaugeValue, float64(len(all)))
	if len(all) > maxBucketSeries {
		slices.SortStableFunc(all, func(a, b engine.BucketUsage) int { return cmp.Compare(b.Bytes, a.Bytes) })
		others := engine.BucketUsage{Name: otherBuckets}
		for _, u := range all[maxBucketSeries:] {
			others.Add(u.Usage)
		}
		all = append(all[:maxBucketSeries], others)
	}
	for i := range all {
		for _, m := range bucketMetrics {
			m.send(ch, &all[i], all[i].Name)
		}
	}
}
