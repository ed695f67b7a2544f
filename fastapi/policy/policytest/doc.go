// Package policytest is for tests: a second evaluator of policies, and random policies and requests to compare it with.
//
// [Decide] is the specification of evaluation: slow, and written to be obviously right. It reads the JSON anew for each request,
// knows nothing of how package policy compiles it, and shares no code with it.
package policytest
