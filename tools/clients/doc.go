// Command clients runs real S3 clients against the real binary and prints a table of which of them passed.
//
// Each client has a directory here with one short script, which stores, lists, reads back and compares real bytes. The
// command installs the client from its package registry into .cache/clients, writes the corpus (keys and bodies) to
// files, starts a node on six fresh drives, and runs the script with these in its environment:
//
//	AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, AWS_REGION
//	BUCKET      name of a bucket that does not exist yet
//	CORPUS      directory with sizes/<bytes>, keys.json, and tree/, a directory of odd file names
//	WORK        empty directory for what it wants to write
//	CACHE       directory where the client is installed
//
// A script that exits with 0 has passed. A client that cannot be installed here is listed as not run, with the reason,
// and never as passed. The clients written in Go are tests instead: awssdkgo and miniogo.
package main
