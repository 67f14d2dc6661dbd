# Everything that builds, tests or checks Weir. CI calls these targets and nothing else.

GO  ?= go
BIN := bin

# Where the pinned tools are built. CI keeps them outside the checkout.
TOOLS ?= $(BIN)
# The quickstart's data folder, seen from examples/quickstart, and more flags for weir up.
DATA ?= .weir
UP   ?=
# What test looks at, and how long each fuzz target runs.
PKG      ?= ./...
FUZZTIME ?= 10s
# How long make torture breaks things, and from which seed: the same things again with the same one.
MINUTES ?= 3
SEED    ?= 0
# The Go vulnerability database; file:///path for a copy of it.
VULNDB ?= https://vuln.go.dev

# The race detector needs a C compiler. Tests need nothing but Go, Python 3 and make, so without one they run unraced.
CC_FOUND := $(shell command -v $$($(GO) env CC) 2>/dev/null)
RACE     ?= $(if $(CC_FOUND),-race,)
NATS_CLI  = WEIR_NATS_CLI=$(abspath $(TOOLS))/nats

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build run test test-integration lint vuln model fuzz bench torture torture-broken generate verify cross clean

help: ## Print this list
	@echo 'make TARGET, where TARGET is one of:'
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' Makefile | awk -F'|' '{ printf "  %-17s %s\n", $$1, $$2 }'

build: ## Build bin/weir
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/weir ./cmd/weir

run: build ## Run the quickstart and stay up; ONCE=1 stops after its first run
	cd examples/quickstart && ../../$(BIN)/weir up --data $(DATA) --run my-flow $(if $(ONCE),--once) $(UP)

test: $(TOOLS)/nats ## Run all tests, raced, in random order
	@$(if $(RACE),:,echo 'no C compiler: the tests run WITHOUT the race detector (install gcc to have it)')
	$(NATS_CLI) $(GO) test $(RACE) -shuffle=on -timeout 10m $(PKG)

# A test that needs infrastructure is in its runner's package, or in cmd/weir and named after it: TestDocker_….
test-integration: $(TOOLS)/nats ## Run the tests that need infrastructure: WEIR_TEST=docker,ecs make test-integration
	@if [ -z "$(WEIR_TEST)" ]; then echo 'Nothing was asked for: name the infrastructure that is there, as in WEIR_TEST=docker make test-integration'; exit 0; fi; \
	for name in $$(echo "$(WEIR_TEST)" | tr , ' '); do \
		[ -d "runners/$$name" ] || { echo "there is no pool type $$name to test"; exit 1; }; \
		WEIR_TEST="$(WEIR_TEST)" $(GO) test $(RACE) -count=1 -timeout 30m "./runners/$$name/..." && \
		WEIR_TEST="$(WEIR_TEST)" $(NATS_CLI) $(GO) test $(RACE) -count=1 -timeout 30m -run "(?i)^Test$${name}_" ./cmd/weir || exit 1; \
	done

lint: $(TOOLS)/golangci-lint ## Vet and lint
	$(GO) vet ./...
	$(TOOLS)/golangci-lint run ./...

vuln: $(TOOLS)/govulncheck ## Look for known vulnerabilities in what the code calls
	tools/vuln.sh $(TOOLS)/govulncheck $(VULNDB)

model: ## Search every state of the protocol's model, and print the counterexamples
	$(GO) test -count=1 -v ./docs/model/

fuzz: ## Run each fuzz target for FUZZTIME
	tools/fuzz.sh $(FUZZTIME)

bench: ## Measure against this machine's own ceilings; BENCH="-only up,latency" measures less
	$(GO) run ./bench $(BENCH)

torture: ## Break everything while runs go on, MINUTES long, and prove that every promise held
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/torture ./bench/torture
	$(BIN)/torture -minutes $(MINUTES) -seed $(SEED) $(TORTURE)

torture-broken: ## Check that torture's proof sees it when a promise is taken out of the code
	WEIR_TORTURE=1 $(GO) test -count=1 -timeout 10m ./bench/torture/

generate: ## Write the generated files
	$(GO) generate ./...

verify: $(TOOLS)/gofumpt ## Check that generated files, modules and formatting are current
	tools/verify.sh $(TOOLS)/gofumpt

cross: ## Build and vet for every platform that releases are made for
	tools/cross.sh

clean: ## Remove what was built and what the quickstart left
	rm -rf $(BIN) examples/quickstart/.weir examples/quickstart/data

# Tools are pinned by tools/go.mod, a module of its own, so that go.mod lists only what the product uses. Go's build cache
# makes a rebuild with the same versions a matter of a second.
$(TOOLS)/nats: PACKAGE = github.com/nats-io/natscli/nats
$(TOOLS)/golangci-lint: PACKAGE = github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(TOOLS)/govulncheck: PACKAGE = golang.org/x/vuln/cmd/govulncheck
$(TOOLS)/gofumpt: PACKAGE = mvdan.cc/gofumpt

$(TOOLS)/nats $(TOOLS)/golangci-lint $(TOOLS)/govulncheck $(TOOLS)/gofumpt: tools/go.mod tools/go.sum
	@mkdir -p $(TOOLS)
	CGO_ENABLED=0 $(GO) build -C tools -trimpath -o $(abspath $@) $(PACKAGE)
	@touch $@
