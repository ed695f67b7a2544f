package fastapi

import (
	"strings"
	"testing"
)

// TestUnconfigured: what clients ask of a bucket when they look at it is answered as Amazon answers for a bucket that was never configured.
func TestUnconfigured(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		for _, c := range []struct {
			target string
			status int
			want   string // Of the document, or the code.
		}{
			{"?accelerate", 200, `<AccelerateConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></AccelerateConfiguration>`},
			{"?logging", 200, `<BucketLoggingStatus xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></BucketLoggingStatus>`},
			{"?notification", 200, `<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></NotificationConfiguration>`},
			{"?requestPayment", 200, `<Payer>BucketOwner</Payer>`},
			{"?website", 404, "NoSuchWebsiteConfiguration"},
			{"?replication", 404, "ReplicationConfigurationNotFoundError"},
			{"?analytics&id=x", 404, "NoSuchConfiguration"},
			{"?metrics&id=x", 404, "NoSuchConfiguration"},
			{"?inventory&id=x", 404, "NoSuchConfiguration"},
			{"?intelligent-tiering&id=x", 404, "NoSuchConfiguration"},
			{"?analytics", 200, `<IsTruncated>false</IsTruncated></ListBucketAnalyticsConfigurationResult>`},
			{"?metrics", 200, `<IsTruncated>false</IsTruncated></ListMetricsConfigurationsResult>`},
			{"?inventory", 200, `<IsTruncated>false</IsTruncated></ListInventoryConfigurationsResult>`},
			{"?intelligent-tiering", 200, `<IsTruncated>false</IsTruncated></ListBucketIntelligentTieringConfigurationsOutput>`},
			{"?encryption", 501, "NotImplemented"},
		} {
			r := h.do("GET", "/bucket"+c.target, "")
			if r.status != c.status || c.status == 200 && !strings.Contains(r.body, c.want) || c.status != 200 && r.code() != c.want {
				t.Errorf("GET %s: got %v, want %d %s", c.target, r, c.status, c.want)
			}
			h.want(404, "NoSuchBucket", "GET", "/none"+c.target, "")
		}
	})
}

// TestNothingIsStoredButIgnored: a configuration that would change what the store does is refused, and one that asks for nothing is not.
func TestNothingIsStoredButIgnored(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for _, c := range []struct {
		target, doc string
		status      int
		code        string
	}{
		{"?logging", "<BucketLoggingStatus/>", 200, ""},
		{"?logging", "<BucketLoggingStatus><LoggingEnabled><TargetBucket>b</TargetBucket><TargetPrefix/></LoggingEnabled></BucketLoggingStatus>", 501, "NotImplemented"},
		{"?logging", "<Logging/>", 400, "MalformedXML"},
		{"?notification", "<NotificationConfiguration></NotificationConfiguration>", 200, ""},
		{"?notification", "<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>", 501, "NotImplemented"},
		{"?notification", "<NotificationConfiguration><A></NotificationConfiguration>", 400, "MalformedXML"},
		{"?requestPayment", "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>", 200, ""},
		{"?requestPayment", "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>", 501, "NotImplemented"},
		{"?requestPayment", "<RequestPaymentConfiguration><Payer>Nobody</Payer></RequestPaymentConfiguration>", 400, "MalformedXML"},
		{"?requestPayment", "<RequestPaymentConfiguration/>", 400, "MalformedXML"},
		{"?accelerate", "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>", 501, "NotImplemented"},
		{"?website", "<WebsiteConfiguration/>", 501, "NotImplemented"},
		{"?replication", "<ReplicationConfiguration/>", 501, "NotImplemented"},
		{"?encryption", "<ServerSideEncryptionConfiguration/>", 501, "NotImplemented"},
		{"?analytics&id=x", "<AnalyticsConfiguration/>", 501, "NotImplemented"},
		{"?inventory&id=x", "<InventoryConfiguration/>", 501, "NotImplemented"},
		{"?metrics&id=x", "<MetricsConfiguration/>", 501, "NotImplemented"},
		{"?intelligent-tiering&id=x", "<IntelligentTieringConfiguration/>", 501, "NotImplemented"},
	} {
		h.want(c.status, c.code, "PUT", "/bucket"+c.target, c.doc)
	}
	for target, status := range map[string]int{"?website": 204, "?replication": 204, "?analytics&id=x": 404, "?inventory&id=x": 404, "?metrics&id=x": 404, "?intelligent-tiering&id=x": 404, "?encryption": 501} {
		if r := h.do("DELETE", "/bucket"+target, ""); r.status != status {
			t.Errorf("DELETE %s: got %v, want %d", target, r, status)
		}
	}
}
