package admin

import "encoding/json"

// Question asks how a request would be decided.
type Question struct {
	As       string `json:"as"`       // "root", "anonymous", "user/NAME", "role/NAME", or an access key.
	Action   string `json:"action"`   // Such as s3:GetObject.
	Resource string `json:"resource"` // "bucket/key" or "bucket"; the whole ARN of a role.
	// Conditions are values of condition keys, such as aws:SourceIp. What a request always has is filled in unless it is given.
	Conditions map[string][]string `json:"conditions,omitempty"`
}

// Explanation is how it is decided, and why.
type Explanation struct {
	Allowed   bool            `json:"allowed"`
	Reason    string          `json:"reason"`
	Layer     string          `json:"layer"`               // What decides: an identity policy, a bucket policy, and so on.
	Policy    string          `json:"policy,omitempty"`    // Its name, if it has one.
	Sid       string          `json:"sid,omitempty"`       // Of the statement, if it has one.
	Index     *int            `json:"index,omitempty"`     // Of the statement in its policy, from 0; absent if no statement decides.
	Statement json.RawMessage `json:"statement,omitempty"` // The statement itself.
}

// explainRoutes are the rows that explain decisions.
func explainRoutes() []*Route {
	return []*Route{
		{Method: "POST", Path: "/explain/access", Name: "ExplainAccess", Action: "admin:ExplainAccess", Summary: "How a request would be decided, and by which statement.", Body: Question{}, Answer: Explanation{}, handle: (*API).explainAccess},
		{Method: "GET", Path: "/explain/lifecycle", Name: "ExplainLifecycle", Action: "admin:ExplainLifecycle", Summary: "What the lifecycle rules of a bucket will do to a key, and when, or why nothing.",
			Params: []Param{{Name: "bucket", Summary: "The bucket.", Required: true}, {Name: "key", Summary: "The key.", Required: true}}, Answer: Lifecycle{}, handle: (*API).explainLifecycle},
	}
}

func (a *API) explainAccess(c *Call) (any, error) {
	var q Question
	if err := decode(c.Body, &q); err != nil {
		return nil, err
	}
	e, err := a.opts.Front.Explain(q)
	if err != nil {
		return nil, err
	}
	return e, nil
}
