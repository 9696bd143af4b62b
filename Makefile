.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-other-primary test-local check layers licences audit explore fuzz model mutants bench bench-compare build deploy deploy-storage deploy-audit live live-clean clean

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
TOOLS := target/tools
DENY := $(TOOLS)/bin/cargo-deny
ARCH ?= arm64
LAMBDA_TARGET = $(if $(filter arm64,$(ARCH)),aarch64,x86_64)-unknown-linux-gnu
CONFIG ?= deploy.toml
LIVE_OPTIONS = $(if $(EXPECT_ACCOUNT),--expect-account $(EXPECT_ACCOUNT)) $(if $(TEST_ROLE),--test-role $(TEST_ROLE)) \
    $(if $(EVENTS_ROLE),--events-role $(EVENTS_ROLE)) $(if $(REPLICATION_ROLE),--replication-role $(REPLICATION_ROLE)) \
    $(if $(LOCATION_ROLE),--location-role $(LOCATION_ROLE)) $(if $(DEFINER_ROLE),--definer-role $(DEFINER_ROLE)) \
    $(if $(WAIT_MINUTES),--wait-minutes $(WAIT_MINUTES)) $(if $(ONLY),--only $(ONLY))
FUZZ_SECONDS ?= 60
FUZZ_RUNS ?= -1
FUZZ_TARGETS ?= events policy names ledger_keys ledger_items sandbox_http iceberg_metadata iceberg_manifest puffin \
    position_deletes delta_log delta_checkpoint hudi_timeline
# Coverage counters for libFuzzer that need no nightly compiler.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1
export SAM_CLI_TELEMETRY := 0

help: ## Lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: binaries $(VENV)/ready ## Shows Twinlake at work in two Regions of a local AWS
	@$(PY) tests/local/demo.py

test: ## Runs all checks and tests; needs no AWS account
	@# The Python environment is downloaded while the compiler works.
	@$(MAKE) --no-print-directory --jobs 2 check $(VENV)/ready
	@$(MAKE) --no-print-directory test-fast
	@$(MAKE) --no-print-directory test-other-primary
	@$(MAKE) --no-print-directory test-local

test-fast: ## Runs the tests that need no local AWS: unit tests, properties, scenarios
	cargo test --workspace --locked

test-other-primary: ## Runs the tests over both Regions again, with the policy's site b as primary
	TWINLAKE_PRIMARY_SITE=b cargo test --workspace --locked --test integration -- alerts:: errors:: event_batch:: \
	    excess_access:: external_schemas:: glue_connections:: glue_definitions:: glue_jobs:: glue_tools:: glue_workflows:: grant_call_counts:: guarded_writes:: links:: monitor:: named_revokes:: properties:: s3_replication:: \
	    scan_intervals:: service_answers:: stale_listings:: verified_at:: changes_during_runs:: lf_tag_lease:: subject_states:: \
	    takeover:: failover:: switchover:: divergence::

test-local: binaries $(VENV)/ready ## Runs the Python tests: end to end on a local AWS, over moto, and of the template
	$(PY) -m pytest -q -W ignore -n 2 --dist loadscope tests/local

check: layers licences ## Checks formatting, lints, the source layout and licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

layers: ## Checks the invariants of the source layout
	@tests/layers.sh
	@$(PYTHON) tests/layout.py

licences: $(DENY) ## Checks the licences and sources of the dependencies
	$(DENY) --log-level error check licenses bans sources

audit: $(DENY) ## Checks the dependencies against the RustSec advisory database, which it downloads
	$(DENY) check advisories

explore: ## Runs the property tests with random seeds (PROPTEST_CASES=100000 sets the number of cases)
	TWINLAKE_EXPLORE=1 cargo test --workspace --locked --lib --test integration -- --nocapture \
	    failure_sets:: properties:: excess_access:: service_answers::

fuzz: ## Fuzzes parsers, names, the ledger's items, files of tables and the sandbox (FUZZ_SECONDS=60 each, or FUZZ_RUNS=... FUZZ_SECONDS=0)
	@for target in $(FUZZ_TARGETS); do \
	    mkdir -p target/fuzz/corpus/$$target && \
	    RUSTFLAGS="$(FUZZ_FLAGS)" cargo run --quiet --release --locked --target-dir target/fuzz \
	        --target $$(rustc -vV | sed -n 's/^host: //p') \
	        --manifest-path tests/fuzz/Cargo.toml --bin $$target -- \
	        -max_total_time=$(FUZZ_SECONDS) -runs=$(FUZZ_RUNS) -timeout=10 -print_final_stats=1 \
	        target/fuzz/corpus/$$target events || exit 1; \
	done

model: ## Model-checks every interleaving of handlers whose calls fail, with the real plan and audit
	cargo run --quiet --release --locked --target-dir target/model --manifest-path tests/model/Cargo.toml

mutants: ## Disables each field mapping of the converters in turn; a test must fail for each
	$(PYTHON) tests/mutants.py

bench: $(VENV)/ready ## Measures API calls against their lower bound, times, memory, large lakes (PARTS="scale functions" for some)
	@# The part `iceberg` builds its one program itself.
	@test "$(strip $(PARTS))" = iceberg || cargo build --workspace --release --locked
	$(PY) tests/local/bench.py $(PARTS)

bench-compare: ## Compares two results of `make bench`, which writes target/bench.json (A=... B=...); fails if a call count rose
	@test -n "$(A)" -a -n "$(B)" || \
	    { echo "Name both files: make bench-compare A=target/bench-before.json B=target/bench.json"; exit 1; }
	@$(PYTHON) tests/local/bench_results.py "$(A)" "$(B)"

build: $(VENV)/build-ready ## Builds the release zips for Lambda (ARCH=arm64 or x86_64), each under 6 MB
	@test -d "$$(rustc --print sysroot)/lib/rustlib/$(LAMBDA_TARGET)" || { \
	    echo "The standard library for $(LAMBDA_TARGET) is not installed. Run \`rustup target add $(LAMBDA_TARGET)\`,"; \
	    echo "or build for the other architecture: run \`make build ARCH=$(if $(filter arm64,$(ARCH)),x86_64,arm64)\`, and deploy with the same ARCH."; \
	    exit 1; }
	PATH="$(abspath $(VENV))/bin:$$PATH" cargo-lambda lambda build --release --locked --output-format zip \
	    --package twinlake-lambda --$(if $(filter arm64,$(ARCH)),arm64,x86-64)
	@for zip in target/lambda/*/bootstrap.zip; do \
	    size=$$(wc -c < $$zip); echo "$$zip $$size bytes"; \
	    test $$size -lt 6000000 || { echo "$$zip is over 6 MB"; exit 1; }; \
	done

deploy: $(VENV)/ready ## Deploys the stacks in both Regions after `make build`, or upgrades them (CONFIG=deploy.toml)
	@$(PY) stacks/deploy.py $(CONFIG)

deploy-storage: $(VENV)/ready ## Deploys replicated buckets in both Regions (PRIMARY=... STANDBY=...)
	@test -n "$(PRIMARY)" -a -n "$(STANDBY)" || \
	    { echo "Name both Regions: make deploy-storage PRIMARY=us-east-1 STANDBY=ap-south-1"; exit 1; }
	$(PY) stacks/deploy_lake.py storage --primary $(PRIMARY) --standby $(STANDBY) $(STORAGE_PARAMETERS)

deploy-audit: $(VENV)/ready ## Deploys a trail in each Region that has no suitable one (PRIMARY=... STANDBY=...)
	@test -n "$(PRIMARY)" -a -n "$(STANDBY)" || \
	    { echo "Name both Regions: make deploy-audit PRIMARY=us-east-1 STANDBY=ap-south-1"; exit 1; }
	$(PY) stacks/deploy_lake.py audit --primary $(PRIMARY) --standby $(STANDBY) $(AUDIT_PARAMETERS)

live: binaries $(VENV)/ready ## Asks two real Regions the open questions about AWS (PRIMARY=... STANDBY=...); LIVE_WRITES=yes also those that write
	@test -n "$(PRIMARY)" -a -n "$(STANDBY)" || \
	    { echo "Name both Regions: make live PRIMARY=us-east-1 STANDBY=ap-south-1 [POLICY=policy.toml] [LIVE_WRITES=yes]"; exit 1; }
	@status=0; \
	if [ -n "$(POLICY)" ]; then \
	    target/debug/twinlake plan --policy $(POLICY) || test $$? -eq 2 || status=1; \
	    $(PY) tests/local/compare.py --primary $(PRIMARY) --standby $(STANDBY) \
	        $(foreach pair,$(LOCATIONS),--location $(pair)) || status=1; \
	fi; \
	LIVE_WRITES=$(LIVE_WRITES) PYTHONPATH=tests $(PY) -m live ask --primary $(PRIMARY) --standby $(STANDBY) $(LIVE_OPTIONS) \
	    || status=1; \
	exit $$status

live-clean: $(VENV)/ready ## Removes what a killed `make live LIVE_WRITES=yes` left
	PYTHONPATH=tests $(PY) -m live clean $(if $(EXPECT_ACCOUNT),--expect-account $(EXPECT_ACCOUNT))

clean: ## Removes target and the Python environment
	rm -rf target $(VENV)

.PHONY: binaries
binaries:
	cargo build --workspace --locked

# Without --no-compile, pip compiles every module of packages of which the tests import a few.
PIP_INSTALL := $(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: tests/requirements.txt | $(VENV)/bin/pip
	$(PIP_INSTALL) -r tests/requirements.txt
	touch $@

$(VENV)/build-ready: stacks/build-requirements.txt | $(VENV)/bin/pip
	$(PIP_INSTALL) -r stacks/build-requirements.txt
	touch $@

# `make licences` and `make audit` use it. Built once, without optimization: compiling it takes longer than its work.
$(DENY):
	cargo install cargo-deny --version 0.20.2 --locked --debug --root $(TOOLS)
