# Everything here needs git, make and Go. What a test wants beyond that it installs, or skips with a printed reason.

# The environment must not change what is built.
override GOFLAGS := -buildvcs=false
override GOEXPERIMENT :=
export GOFLAGS GOEXPERIMENT

GO       ?= go
PACKAGES ?= ./...
DATA     ?= ./data
# A trial run should not take an eighth of the machine.
MEMORY   ?= 512MiB
ADDRESS  ?= 127.0.0.1:9000

FUZZTIME ?= 20s
DURATION ?= 10m
ONLY     ?=
SEED     ?= 0
BASE     ?=
CLIENTS  ?=

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# The race detector needs a C compiler. Without one the tests run without it, and say so.
RACE := $(shell command -v $${CC:-cc} >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 && echo -race)

.DEFAULT_GOAL := help
.PHONY: help build run test test-giouring clients clients-ci fuzz bench torture mutations deb release test-ansible test-grafana test-helm fmt clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/penstock: static, stripped
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/penstock ./tools/penstock

run: build ## Build, then serve S3 on 127.0.0.1:9000 from six drives under ./data
	@mkdir -p $(foreach n,1 2 3 4 5 6,$(DATA)/d$(n))
	@exec bin/penstock server --address $(ADDRESS) --memory $(MEMORY) '$(DATA)/d{1...6}'

test: ## Vet, then every test with the race detector and the costly checks, real binary and real clients included
	$(GO) vet -tags invariants $(PACKAGES)
	@test -n '$(RACE)' || echo 'no C compiler: the tests run without the race detector'
	$(GO) test $(RACE) -tags invariants -timeout 20m $(PACKAGES)

test-giouring: ## The tests of the rings on the second backend
	$(GO) test $(RACE) -tags invariants,giouring -ldflags=-checklinkname=0 -timeout 10m ./ioring/...

clients: ## Install real clients from the package registries, run them against the binary, print a table
	$(GO) run ./tools/clients $(CLIENTS)

clients-ci: ## The same for those that install in a few minutes
	$(GO) run ./tools/clients -ci $(CLIENTS)

fuzz: ## Every fuzz target for FUZZTIME (20s)
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -tags invariants -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -tags invariants -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

bench: ## Measure the node and its packages, with BASE=<ref> against it; writes bench/RESULTS.md
	@tools/bench.sh '$(BASE)'

torture: ## Kills, power cuts and faults of drives under load of the real binary for DURATION (10m; ONLY=kill,power; SEED=…), then faults and races inside, then every fuzz target for a minute
	$(GO) run ./tools/torture -duration $(DURATION) -only '$(ONLY)' -seed $(SEED)
	$(GO) test -tags invariants -timeout 0 -count 1 -run TestEveryFault ./engine -faults 50
	$(GO) test -tags invariants -timeout 0 -count 1 -run TestAgainstReference ./fastapi/policy -pairs 3000000
	$(GO) test -tags invariants -timeout 0 -count 1 -run TestDerivedIsNeverMore ./fastapi/iam -derived 100000
	$(MAKE) fuzz FUZZTIME=1m

mutations: ## Take out, one by one, the lines that keep the invariants, and see a test fail each time
	$(GO) run ./tools/mutation

deb: build ## Debian package of this machine's architecture, in dist/
	tools/release/deb.sh bin/penstock $$(dpkg --print-architecture) '$(VERSION)' dist/penstock_$(VERSION)_$$(dpkg --print-architecture).deb
	@ls -l dist/*.deb

test-ansible: build ## Lint the Ansible roles and run them against this machine with loop devices; needs root, skips with a reason
	tools/ansible/test/ci.sh bin/penstock

test-helm: ## Lint the Helm chart and check what it makes; builds Helm first, skips with a reason where it cannot be had
	@command -v helm >/dev/null || GOBIN=$(CURDIR)/bin $(GO) install helm.sh/helm/v3/cmd/helm@v3.16.4 2>/dev/null || echo "skipped: helm cannot be had"
	PATH="$(CURDIR)/bin:$$PATH" $(GO) test -count 1 -v ./tools/helm

test-grafana: build ## Check the alert rules, and evaluate every panel of the dashboard with a real Prometheus; skips with a reason
	tools/grafana/test/run.sh bin/penstock

release: ## Reproducible binaries and packages for amd64 and arm64, bill of materials, checksums, in dist/
	tools/release/release.sh '$(VERSION)' '$(COMMIT)'

fmt: ## Format, and fail on what does not vet
	$(GO) fmt ./...
	$(GO) vet ./...

clean: ## Remove what was built; data and installed clients stay
	rm -rf bin dist
