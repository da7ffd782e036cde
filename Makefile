# Everything that is done to this repository. "make help" lists it.

BIN := bin/slipway

# Rules are pure and have nothing to race; everything else is tested with the
# race detector. The program as a whole comes last and alone: its releases are
# judged by how long real services take.
PURE := delivery rollout promotion analysis manifest arch
pure_packages  = $(addprefix ./internal/,$(addsuffix /...,$(PURE)))
other_packages = $(shell go list ./... | grep -vE '/internal/($(subst $() ,|,$(PURE)))(/|$$)')

# Rules whose properties are checked by the hundred thousand.
sim_packages = $(shell grep -rl --include='*_test.go' pgregory.net/rapid $(addprefix internal/,$(PURE)) | xargs -n1 dirname | sort -u | sed 's,^,./,')

.DEFAULT_GOAL := help
.PHONY: help setup build test check lint gen sim sim-analysis soak trials screenshots bench bench-proxy demo dev clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the tests need (Debian, as root), or say what is missing
	@tools/setup

build: ## build bin/slipway
	CGO_ENABLED=0 go build -trimpath -o $(BIN) ./cmd/slipway

test: setup ## set up and run every test
	@status=0; \
	go test -timeout 10m $(pure_packages) || status=1; \
	go test -race -timeout 25m $(filter-out %/cmd/slipway,$(other_packages)) || status=1; \
	go test -race -timeout 25m ./cmd/slipway || status=1; \
	go -C tools/bench test . || status=1; \
	exit $$status

check: gen lint test ## what a change must pass: generated files, lint, tests
	git diff --exit-code -- docs

lint: ## run the linters pinned in tools/go.mod
	go tool -modfile=tools/go.mod golangci-lint run

gen: ## write generated files anew (JSON Schema, OpenAPI document, golden files)
	go test -count=1 ./internal/manifest ./internal/server ./internal/cli -update

sim: ## check the properties of the rules 100,000 times and the simulation with many seeds (about an hour)
	go test -count=1 -timeout 2h $(sim_packages) -rapid.checks=100000
	SLIPWAY_SEEDS=20000 go test -count=1 -timeout 2h ./internal/control/...

sim-analysis: ## play every scenario to our judge and to others' and write the tables into docs/analysis.md (an hour; ARGS='-reps .25' for a quarter of the runs, '-only errors' for some)
	go run ./internal/analysis/sim/cmd -write docs/analysis.md $(ARGS)

soak: ## 1,000 deploys and 100 upgrades of the data plane under load
	SLIPWAY_DEPLOYS=1000 go test -count=1 -timeout 3h -v -run Deploys ./internal/control/
	SLIPWAY_UPGRADES=100 go test -count=1 -timeout 1h -v -run UpgradesUnderLoad ./internal/proxy/

trials: ## roll the demo's good versions out fifty times and its bad ones ten times each, and count how the judge ends them
	SLIPWAY_TRIALS=10 go test -count=1 -timeout 3h -v -run Trials ./cmd/slipway/

screenshots: setup ## click through the demo's story and keep pictures of every page in bin/screenshots
	SLIPWAY_SCREENSHOTS=$(CURDIR)/bin/screenshots go test -count=1 -timeout 15m -v -run StoryByClicks ./cmd/slipway

bench: ## measure, with every figure as a ratio within one run
	go test -count=1 -timeout 1h -run '^$$' -bench . ./...

bench-proxy: build ## measure the data plane beside HAProxy, nginx, ReverseProxy and Caddy (8 minutes; ARGS=-quick: one)
	@tools/setup-bench
	go -C tools/bench build -o ../../bin/bench/ ./...
	bin/bench/bench -slipway $(BIN) $(ARGS)

demo: build ## build everything and run the tour, which takes a minute or two and ends by itself
	$(BIN) demo --tour --fast

dev: build ## build everything and run the demo until Ctrl-C
	$(BIN) demo

clean: ## remove what was built
	rm -rf bin
