// Package iam knows who may use a store: its root, users, groups, access keys, roles, the identity providers it trusts, and the
// policies they are held by.
//
// A [Directory] keeps everybody in memory and every change in the store, as named values, before it is acknowledged:
//
//	iam/user/NAME      groups, attached policies, boundary
//	iam/group/NAME     attached policies
//	iam/policy/NAME    a document
//	iam/key/ACCESSKEY  whose it is, the sealed secret, when it ends, the policies that narrow it
//	iam/role/NAME      attached policies, and who may assume it
//	iam/provider/NAME  an issuer of web identities
//
// Root is not among them: its pair is given when the directory is opened.
//
// [Directory.Credential] answers for every request whose signature could be right. It gives the secret and the [Identity] that
// the secret speaks for: a principal and the compiled policies that hold it. What it answers follows the last change that was acknowledged,
// so that a key that was revoked is refused from then on.
//
// Temporary credentials are kept nowhere. The session token that comes with them holds their secret, whose they are, when
// they end and what narrows them, sealed with a key of its own; see session.go.
//
// What is derived from an identity is never more than it: an access key and a session carry every policy that narrowed
// the credentials they were made with, and end with them. Whoever may change other identities is held by no such policy;
// see [Directory.Acting].
//
// Secrets are sealed with AES-256-GCM before they reach the store ([Keyring]). The keys to that lie beside the root
// credentials, outside the journal.
package iam
