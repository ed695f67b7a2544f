package fastapi

import "strings"

// What a bucket could be configured to do and this server does not. Clients ask for it when they look at a bucket, so the answer is what
// Amazon says of a bucket that was never configured: it is true of every bucket here. What asks for nothing to be done, such as removing
// what is not there, succeeds; what asks for something is 501, so that nothing is ever accepted and then left undone.

// answerElement answers with a document of one element.
func (r *request) answerElement(name string, content func(*xmlWriter)) error {
	if _, err := r.stateOf(r.bucket); err != nil {
		return err
	}
	w := newXML(name, 128)
	if content != nil {
		content(&w)
	}
	w.close(name)
	return r.answerXML(w)
}

// unconfigured answers a request for a configuration that no bucket has.
func (r *request) unconfigured(e *apiError) error {
	if _, err := r.stateOf(r.bucket); err != nil {
		return err
	}
	return e.with("BucketName", r.bucket)
}

// getAccelerate answers GetBucketAccelerateConfiguration.
func (r *request) getAccelerate() error { return r.answerElement("AccelerateConfiguration", nil) }

// getLogging answers GetBucketLogging.
func (r *request) getLogging() error { return r.answerElement("BucketLoggingStatus", nil) }

// getNotification answers GetBucketNotificationConfiguration.
func (r *request) getNotification() error { return r.answerElement("NotificationConfiguration", nil) }

// getRequestPayment answers GetBucketRequestPayment.
func (r *request) getRequestPayment() error {
	return r.answerElement("RequestPaymentConfiguration", func(w *xmlWriter) { w.text("Payer", "BucketOwner") })
}

// getReplication answers GetBucketReplication.
func (r *request) getReplication() error { return r.unconfigured(errNoReplication) }

// getWebsite answers GetBucketWebsite.
func (r *request) getWebsite() error { return r.unconfigured(errNoWebsite) }

// getNumbered answers for one of the configurations that a bucket may have many of, each with an id.
func (r *request) getNumbered() error { return r.unconfigured(errNoConfiguration) }

// deleteNumbered answers for the removal of one of them.
func (r *request) deleteNumbered() error { return r.unconfigured(errNoConfiguration) }

// deleteNothing answers for the removal of what no bucket has.
func (r *request) deleteNothing() error {
	if _, err := r.stateOf(r.bucket); err != nil {
		return err
	}
	return r.answerEmpty(204)
}

func (r *request) listAnalytics() error {
	return r.listNumbered("ListBucketAnalyticsConfigurationResult")
}

func (r *request) listIntelligentTiering() error {
	return r.listNumbered("ListBucketIntelligentTieringConfigurationsOutput")
}

func (r *request) listInventory() error { return r.listNumbered("ListInventoryConfigurationsResult") }

func (r *request) listMetrics() error { return r.listNumbered("ListMetricsConfigurationsResult") }

// listNumbered answers with a list of none.
func (r *request) listNumbered(name string) error {
	return r.answerElement(name, func(w *xmlWriter) {
		w.optional("ContinuationToken", r.param("continuation-token"))
		w.bool("IsTruncated", false)
	})
}

// putLogging answers PutBucketLogging: logging can only be left off.
func (r *request) putLogging() error { return r.putNothing("BucketLoggingStatus") }

// putNotification answers PutBucketNotificationConfiguration: there can only be none.
func (r *request) putNotification() error { return r.putNothing("NotificationConfiguration") }

// putNothing accepts a document that asks for nothing.
func (r *request) putNothing(name string) error {
	doc, err := r.readConfig()
	if err != nil {
		return err
	}
	x := newXMLReader(doc)
	x.root(name)
	asked := x.child()
	for more := asked; more != ""; more = x.child() {
		x.skip()
	}
	if err := x.end(); err != nil {
		return err
	}
	if asked != "" {
		return unavailable(r)
	}
	return r.answerEmpty(200)
}

// putRequestPayment answers PutBucketRequestPayment: it is the bucket's owner who pays.
func (r *request) putRequestPayment() error {
	doc, err := r.readConfig()
	if err != nil {
		return err
	}
	payer := ""
	x := newXMLReader(doc)
	x.root("RequestPaymentConfiguration")
	for name := x.child(); name != ""; name = x.child() {
		if name != "Payer" {
			return errMalformedXML
		}
		payer = strings.TrimSpace(x.text())
	}
	if err := x.end(); err != nil {
		return err
	}
	switch payer {
	case "BucketOwner":
		return r.answerEmpty(200)
	case "Requester":
		return unavailable(r)
	}
	return errMalformedXML
}
