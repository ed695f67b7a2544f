// Package policy is the policy language of IAM, as far as it concerns S3: it parses and validates documents, compiles
// them, and decides requests. It is pure: no I/O, no clock, no state, and what a request says of itself reaches it only
// through [Values].
//
// [Parse] turns JSON into a [Policy], or into an [*Error] whose text is Amazon's where Amazon's is known. A [Set] holds
// the policies that bear on one principal and one bucket, and [Set.Decide] judges a [Request]:
//
//	1  a statement that denies, anywhere, ends the matter
//	2  something must allow: an identity policy, or the bucket's policy, or a grant of an access control list
//	3  the boundary, if there is one, must allow too
//	4  every session policy must allow too
//
// All that can be done once is done when parsing. The actions of a statement become a set of bits over the table of all
// actions (action.go), its condition keys become numbers (key.go), its patterns become pieces (pattern.go), and numbers,
// dates and networks are read. What is left per statement is a test of a bit, a comparison of patterns, and the
// conditions. A decision allocates nothing, so that decisions are made anew for every request and never kept: nothing can be stale.
//
// Where the documentation leaves room, or another store went wrong, this is what holds here:
//
//   - A negated operator is the exact opposite of its plain form on the same values: StringNotEquals with three values
//     means none of the three. ForAllValues and ForAnyValue count the values of the request, each judged by the operator,
//     negation included.
//   - A key that the request lacks fails a plain operator, satisfies a negated one, an IfExists and a ForAllValues, and fails a
//     ForAnyValue.
//   - What a variable brings in is text: an asterisk in a user's name is an asterisk.
//   - A variable that has no value makes its pattern match nothing. Where that would widen an Allow, in NotResource or under a
//     negated operator, the statement does not apply.
//   - Condition keys are a closed table, and each is computed from one known place of the request. No header, parameter or tag of
//     a client can take a key's name.
//   - Wildcards cost time proportional to text and pattern, whatever they hold.
//   - Duplicate names in a JSON object are refused: two readers could disagree about which one counts.
package policy
