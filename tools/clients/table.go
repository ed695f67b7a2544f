package main

// A client is a row of the table.
type client struct {
	name    string
	ci      bool // Installs in a few minutes.
	install installer
	// script is run in the client's directory, dir, which is its name unless set.
	script []string
	dir    string
}

// Interpreters are looked up in the client's own environment first.
var clients = []client{
	{name: "awscli", ci: true, install: pypi{pkg: "awscli"}, script: []string{"bash", "client.sh"}},
	{name: "boto3", ci: true, install: pypi{pkg: "boto3"}, script: []string{"python", "client.py"}},
	{name: "rclone", ci: true, install: debian{pkg: "rclone"}, script: []string{"bash", "client.sh"}},
	{name: "restic", ci: true, install: debian{pkg: "restic"}, script: []string{"bash", "client.sh"}},
	{name: "s3cmd", ci: true, install: pypi{pkg: "s3cmd", with: []string{"setuptools"}}, script: []string{"bash", "client.sh"}},
	{name: "s3fs", ci: true, install: pypi{pkg: "s3fs"}, script: []string{"python", "client.py"}},
	{name: "pyarrow", ci: true, install: pypi{pkg: "pyarrow"}, script: []string{"python", "client.py"}},
	{name: "webdataset", ci: true, install: pypi{pkg: "webdataset", with: []string{"boto3", "awscli"}}, script: []string{"python", "client.py"}},
	{name: "aws-sdk-js", ci: true, install: npm{pkg: "@aws-sdk/client-s3", with: []string{"@aws-sdk/lib-storage", "@aws-sdk/s3-request-presigner"}},
		script: []string{"node", "client.mjs"}},
	{name: "aws-sdk-java", ci: true, install: maven{pkg: "software.amazon.awssdk:s3"}, script: []string{"java", "-cp", "jars/*", "Client.java"}},
	{name: "dataset", ci: true, install: pypi{pkg: "boto3"}, script: []string{"python", "dataset.py"}},

	// These need PyTorch, which is gigabytes, and share one environment of it.
	{name: "s3torchconnector", install: pypi{pkg: "s3torchconnector", env: "torch", with: torch}, script: []string{"python", "client.py"}},
	{name: "mosaicml-streaming", install: pypi{pkg: "mosaicml-streaming", env: "torch", with: torch}, script: []string{"python", "client.py"}},
	{name: "dataset with PyTorch", install: pypi{pkg: "torch", env: "torch", with: torch}, dir: "dataset", script: []string{"python", "dataset.py", "--torch"}},
}

var torch = []string{"torch", "s3torchconnector", "mosaicml-streaming", "boto3"}
