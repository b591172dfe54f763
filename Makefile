# Slow tools (kube-apiserver, etcd, kubectl, Helm, golangci-lint) are built from source at first use, into
# the user's cache directory; see test/tools.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# Further flags for go test: make test GOTESTFLAGS=-race
GOTESTFLAGS ?=
# Which stages make bench runs, or which Go benchmarks make gobench; and where the report goes.
BENCH ?= .
OUT ?= bin/bench
# How many random worlds make conformance judges, and the seed of the first.
WORLDS ?= 100000
SEED ?= 1000
# How long make fuzz gives each fuzz target; make test gives it 3s.
FUZZTIME ?= 20s

# How long make soak and make faults run, and the seed of what they do; by chance if empty.
DURATION ?= 30m
SOAKSEED ?=

# The directories of the modules.
MODULES := . test test/conformance test/observability test/tools/certmanager test/tools/controllermanager \
	test/tools/controlplane test/tools/controlplane-oldest test/tools/helm test/tools/lint

# An own workspace of the user's would change what is built.
export GOWORK := off

install := cd test && go run ./tools/install
# Prints the packages that have tests.
tested := go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the webhook and the CLI into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: lint
lint: ## Check code, format and go.mod files
	@lint=$$($(install) lint) && for module in . test test/conformance test/observability test/tools/certmanager; do \
		echo "golangci-lint run ($$module)"; \
		(cd $$module && $$lint/golangci-lint run ./...) || exit; \
	done
	@for module in $(MODULES); do \
		echo "go mod tidy -diff ($$module)"; \
		(cd $$module && go mod tidy -diff) || exit; \
	done

.PHONY: fmt
fmt: ## Format the code
	@lint=$$($(install) lint) && for module in . test test/conformance test/observability test/tools/certmanager; do \
		(cd $$module && $$lint/golangci-lint fmt ./...) || exit; \
	done

.PHONY: test
test: ## Run all tests, against a real API server too
	@$(install) controlplane >/dev/null
	@$(install) controlplane-oldest >/dev/null
	@$(install) helm >/dev/null
	@$(install) controllermanager >/dev/null
	@$(install) certmanager >/dev/null
	go test $(GOTESTFLAGS) ./...
	$(MAKE) --no-print-directory fuzz FUZZTIME=3s
	$(MAKE) --no-print-directory -j 2 test-newest test-beside

# The API server tests depend on more than Go's test cache knows of: never from the cache. Two packages
# at a time, and what test-beside runs, since each starts a control plane, and waits half of its time;
# the longest first, so that none is left alone in the end.
.PHONY: test-newest
test-newest:
	cd test && go vet ./... && go test -count=1 -p 2 -timeout 30m $(GOTESTFLAGS) ./e2e ./faults \
		$$($(tested) | grep -v -e '/e2e$$' -e '/faults$$' -e '/install$$')

# The end-to-end tests run at the other end of what is supported too. The last is here so that both
# sides take as long.
.PHONY: test-beside
test-beside:
	cd test && go test -count=1 -timeout 30m $(GOTESTFLAGS) ./e2e -oldest
	cd test/conformance && go test -count=1 $(GOTESTFLAGS) ./...
	cd test/observability && go vet ./... && go test -count=1 $(GOTESTFLAGS) .
	cd test && go test -count=1 -timeout 30m $(GOTESTFLAGS) ./install

.PHONY: unit
unit: ## Run the tests that need no API server
	go test $(GOTESTFLAGS) ./...

# go test fuzzes one target at a time. What it learns stays in Go's build cache; what fails it writes
# to testdata/fuzz, from where make unit runs it ever after.
.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME, 20s by default
	@for package in ./internal/policy ./internal/manifest/yamltext ./validate ./webhook; do \
		targets=$$(go test -list '^Fuzz' $$package) || exit; \
		for target in $$(echo "$$targets" | grep '^Fuzz'); do \
			echo "go test -fuzz $$target $$package"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime '$(FUZZTIME)' -fuzzminimizetime 1s -parallel 2 $$package || exit; \
		done; \
	done

.PHONY: conformance
conformance: ## Hold the decisions against istiod in WORLDS random worlds, 100000 by default, from SEED on
	cd test/conformance && go test -count=1 -v -timeout 24h $(GOTESTFLAGS) -run Differential . -worlds '$(WORLDS)' -seed '$(SEED)'

.PHONY: soak
soak: ## Run three replicas under load of every kind, hostile clients too, for DURATION, 30m by default
	@$(install) controlplane >/dev/null
	cd test && go run ./soak -duration '$(DURATION)' $(addprefix -seed=,$(SOAKSEED))

.PHONY: faults
faults: ## Break replicas, API server, etcd and certificates under load, in random order, for DURATION
	@$(install) controlplane >/dev/null
	cd test && go test -count=1 -v -timeout 24h $(GOTESTFLAGS) -run RandomFaults ./faults -for '$(DURATION)' $(addprefix -seed=,$(SOAKSEED))

.PHONY: demo
demo: ## Play the product on a real API server; KEEP=1 leaves it running
	@$(install) controlplane >/dev/null
	@cd test && go run ./demo $(if $(KEEP),-keep)

.PHONY: generate
generate: ## Write what is generated: the policy's schema and table, the kustomize base, the demo in README.md
	go test ./internal/policy -run '^TestGenerated' -update
	cd test && go run ./deploy/generate
	@$(install) controlplane >/dev/null
	@cd test && go run ./demo -update

.PHONY: dashboard
dashboard: ## Draw the dashboard into docs/, from real servers under load for a minute and a half
	@$(install) controlplane >/dev/null
	cd test/observability && go run ./picture

.PHONY: screenshot
screenshot: ## Take the pictures of the HTML report into docs/, with a browser that is installed
	@$(install) controlplane >/dev/null
	cd test && go run ./browser/picture

.PHONY: bench
bench: ## Measure everything beside something else, and report to OUT, bin/bench by default; BENCH=regexp picks stages
	@$(install) controlplane >/dev/null
	@cd test && go run ./bench -only '$(BENCH)' -out '$(abspath $(OUT))'

.PHONY: goals
goals: ## Tell which goals the report in docs/ meets
	@cd test && go run ./bench -goals ../docs/performance/report.json

.PHONY: gobench
gobench: ## Run the Go benchmarks, for benchstat; BENCH=regexp picks some
	@for module in . test test/conformance; do \
		(cd $$module && go test -run '^$$' -bench '$(BENCH)' -benchmem ./...) || exit; \
	done

.PHONY: sbom
sbom: build ## Write the bill of materials of each binary, as CycloneDX, into bin/
	cd test && go run ./sbom -version '$(VERSION)' ../bin/egress-tls-webhook ../bin/egress-tls

.PHONY: man
man: ## Write a man page of each command of the CLI into bin/man/
	cd test && go run ./man -version '$(VERSION)' -date "$$(git log -1 --format=%ct 2>/dev/null || echo 0)" ../bin/man

.PHONY: vuln
vuln: ## Look for known vulnerabilities in what the binaries call
	@lint=$$($(install) lint) && $$lint/govulncheck ./...

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin

.PHONY: clean-cache
clean-cache: ## Remove the slow tools too
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/egress-tls-webhook"
