# Entry points for people and CI; `make` lists them. Whatever is built lands in the cache, outside the checkout.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export TIDELOCK_CACHE ?= $(HOME)/.cache/tidelock
# One target directory for all checkouts: dependencies are built once, and cargo tells the checkouts' own crates apart.
export CARGO_TARGET_DIR ?= $(TIDELOCK_CACHE)/target
# Where tests find helm and kustomize; set by `make tools`.
TOOLS = $(shell e2e/tools/build.sh)
export CARGO_TERM_COLOR ?= $(if $(MAKE_TERMOUT),always,auto)

# A faster linker where there is one. Only here: a plain `cargo build` needs neither.
ifneq ($(and $(shell command -v clang),$(shell command -v mold)),)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER ?= clang
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS ?= -Clink-arg=-fuse-ld=mold
endif

BINARY := $(CARGO_TARGET_DIR)/release/tidelock
BED := e2e/testbed.sh

.PHONY: help install tools build crds fmt lint generated unit integration image e2e test demo bench health-report airgap-report airgap-soak fuzz-smoke clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## install the Debian packages that everything needs (as root; quick when they are there)
	@e2e/install.sh

tools: install ## build Kubernetes, etcd, CoreDNS, Helm, Kustomize and the linters of charts into the cache (minutes at first, then nothing)
	@e2e/tools/build.sh >/dev/null

build: ## build the release binary
	cargo build --release --locked
	@echo "$(BINARY)"

crds: ## write crds/ from the Rust types
	cargo run --quiet --locked -- crds --directory crds
	cargo run --quiet --locked -- crds --directory charts/tidelock-crds/files
	cargo run --quiet --locked -- crds --directory config/crds/definitions

fmt: ## format the Rust and Go sources
	cargo fmt
	gofmt -w e2e/gitserver e2e/workload e2e/tools e2e/bench

lint: ## formatting, clippy, shell syntax and generated files, all without changing anything
	cargo fmt --check
	@unformatted=$$(gofmt -l e2e/gitserver e2e/workload e2e/tools e2e/bench); [ -z "$$unformatted" ] || { echo "not formatted: $$unformatted (make fmt)" >&2; exit 1; }
	@for script in $$(git ls-files '*.sh' .ci/run); do bash -n "$$script"; done
	@cd e2e/gitserver && GOFLAGS=-buildvcs=false go vet ./...
	@cd e2e/workload && GOFLAGS=-buildvcs=false go vet ./...
	@cd e2e/bench && GOFLAGS=-buildvcs=false go vet ./...
	cargo clippy --all-targets --locked -- -D warnings
	@$(MAKE) --no-print-directory generated

generated: ## fail when crds/ differs from what the Rust types say
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	cargo run --quiet --locked -- crds --directory "$$fresh"; \
	diff -r crds "$$fresh" || { echo "crds/ is not what the types say: run make crds and commit" >&2; exit 1; }

unit: tools ## unit tests, golden files and the layering test: no cluster
	TIDELOCK_TOOLS=$(TOOLS) cargo test --locked --lib --bins --test layering --test leaks --test large_pack --test golden --test golden_render --test golden_status --test generated --test chart

integration: tools ## integration tests on a real API server, proxy and git server
	cargo test --locked --no-run
	RUST_TEST_THREADS=4 TIDELOCK_TOOLS=$(TOOLS) $(BED) run --pods cargo test --locked --test it --test lease --test chart_server

image: tools build ## build the container image from the release binary; prints its archive
	@e2e/image.sh $(BINARY)

e2e: tools build ## the operator by its charts on a real node, from the image to a full cache; before it the test bed's own promises
	$(BED) run --pods bash -c 'e2e/check.sh && e2e/proof.sh full $(BINARY)'

test: tools ## everything CI runs
	@$(MAKE) --no-print-directory lint
	cargo test --locked --no-run
	RUST_TEST_THREADS=4 TIDELOCK_TOOLS=$(TOOLS) $(BED) run --pods bash -c 'e2e/check.sh && e2e/proof.sh smoke $(CARGO_TARGET_DIR)/debug/tidelock && cargo test --locked'

demo: tools ## the whole main job before your eyes; KEEP=1 leaves it up
	@KEEP=$(KEEP) e2e/demo.sh

bench: tools build ## measure speed and memory against a bare loader (docs/benchmarks.md)
	cargo bench --locked --bench planning
	@TIDELOCK_BINARY=$(BINARY) BENCH_DIRECTORY=$(CARGO_TARGET_DIR)/bench e2e/bench/bench.sh
	@program=$$(cargo bench --locked --bench transfer --no-run --message-format=json 2>/dev/null | jq -r 'select(.executable and .target.name == "transfer") | .executable'); \
	TIDELOCK_TRANSFER=$$program BENCH_DIRECTORY=$(CARGO_TARGET_DIR)/bench e2e/bench/transfer.sh

fuzz-smoke: install ## run every fuzz target for 60 s from its kept corpus
	@e2e/fuzz.sh 60

health-report: ## compare our verdicts with judged examples: make health-report FIXTURES=/path (GROUP/KIND/health_test.yaml)
	@[ -n "$(FIXTURES)" ] || { echo "health-report: set FIXTURES to a directory of examples laid out as GROUP/KIND/health_test.yaml, as Argo CD's resource_customizations are: make health-report FIXTURES=/path" >&2; exit 2; }
	@cargo run --quiet --locked -- health --report "$(FIXTURES)"

airgap-report: tools ## the statements about networks without a gateway (docs/airgap-statements.md), each passed or failed
	cargo test --locked --no-run
	@TIDELOCK_TOOLS=$(TOOLS) RUST_TEST_THREADS=4 e2e/airgap_report.sh

airgap-soak: tools ## ten minutes of bad weather at the proxy, whose log may hold configured hosts only
	TIDELOCK_SOAK_SECONDS=600 TIDELOCK_TOOLS=$(TOOLS) $(BED) run --pods cargo test --locked --test it -- airgap_50_

clean: ## end the test bed, take its routes back, remove this checkout's build directory
	-@$(BED) down --fence
	rm -rf "$(CARGO_TARGET_DIR)"
