.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-local check layers licences audit explore fuzz model mutants bench build deploy live clean

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
TOOLS := target/tools
DENY := $(TOOLS)/bin/cargo-deny
ARCH ?= arm64
LAMBDA_TARGET = $(if $(filter arm64,$(ARCH)),aarch64,x86_64)-unknown-linux-gnu
FUZZ_SECONDS ?= 60
# Coverage counters for libFuzzer, without a nightly compiler.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1
export SAM_CLI_TELEMETRY := 0

help: ## Lists what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: binaries $(VENV)/ready ## Shows what Twinlake does, in two Regions of a local AWS
	@$(PY) tests/local/demo.py

test: check test-rust test-local ## Everything that needs no AWS account

test-rust: ## Unit tests, properties, scenarios
	cargo test --workspace --locked

test-local: binaries $(VENV)/ready ## End to end on a local AWS, over moto, and the template
	$(PY) -m pytest -q -W ignore tests/local

check: layers licences ## Formatting, lints, layering, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

layers: ## The invariants of the layout
	@tests/layers.sh

licences: $(DENY) ## Licences and bans of what ships
	$(DENY) --log-level error check licenses bans sources

audit: $(DENY) ## Advisories, for those who can fetch their database
	$(DENY) check advisories

explore: ## Properties over other random histories than the fixed ones
	TWINLAKE_EXPLORE=1 cargo test --workspace --locked --test properties --test widening -- --nocapture

fuzz: ## Feeds the parsers and the sandbox anything at all (FUZZ_SECONDS=60 each)
	@for target in events policy face; do \
	    mkdir -p target/fuzz/corpus/$$target && \
	    RUSTFLAGS="$(FUZZ_FLAGS)" cargo run --quiet --release --locked --target-dir target/fuzz \
	        --target $$(rustc -vV | sed -n 's/^host: //p') \
	        --manifest-path tests/fuzz/Cargo.toml --bin $$target -- \
	        -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
	        target/fuzz/corpus/$$target events || exit 1; \
	done

model: ## Checks every interleaving of handlers over one grant, with the real plan and audit
	cargo run --quiet --release --locked --target-dir target/model --manifest-path tests/model/Cargo.toml

mutants: ## Loses each mapped field of the converters; a test has to notice each
	$(PYTHON) tests/mutants.py

bench: $(VENV)/ready ## Calls against the API's floor, start-up, memory, zips
	cargo build --workspace --release --locked
	$(PY) tests/local/bench.py

build: $(VENV)/ready ## Release zips for Lambda (ARCH=arm64 or x86_64), each under 6 MB
	@test -d "$$(rustc --print sysroot)/lib/rustlib/$(LAMBDA_TARGET)" || { \
	    echo "The standard library for $(LAMBDA_TARGET) is not installed here: \`rustup target add"; \
	    echo "$(LAMBDA_TARGET)\` brings it, where rustup can reach its server. Or build for the other"; \
	    echo "kind of processor: \`make build ARCH=$(if $(filter arm64,$(ARCH)),x86_64,arm64)\` and deploy with the same ARCH."; \
	    exit 1; }
	PATH="$(abspath $(VENV))/bin:$$PATH" cargo-lambda lambda build --release --locked --output-format zip \
	    --package twinlake-lambda --$(if $(filter arm64,$(ARCH)),arm64,x86-64)
	@for zip in target/lambda/*/bootstrap.zip; do \
	    size=$$(wc -c < $$zip); echo "$$zip $$size bytes"; \
	    test $$size -lt 6000000 || { echo "$$zip is over 6 MB"; exit 1; }; \
	done

deploy: $(VENV)/ready ## Deploys both halves (PRIMARY=... SECONDARY=... ARCH=...), after `make build`
	@test -n "$(PRIMARY)" -a -n "$(SECONDARY)" || \
	    { echo "make deploy PRIMARY=us-east-1 SECONDARY=ap-south-1"; exit 1; }
	@test "$(PRIMARY)" != "$(SECONDARY)" || { echo "PRIMARY and SECONDARY are the same Region"; exit 1; }
	$(VENV)/bin/sam deploy --stack-name twinlake --region $(PRIMARY) --resolve-s3 --no-fail-on-empty-changeset \
	    --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
	    --parameter-overrides PeerRegion=$(SECONDARY) Architecture=$(ARCH) $(PRIMARY_PARAMETERS)
	$(VENV)/bin/sam deploy --stack-name twinlake --region $(SECONDARY) --resolve-s3 --no-fail-on-empty-changeset \
	    --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
	    --parameter-overrides PeerRegion=$(PRIMARY) Architecture=$(ARCH) $(SECONDARY_PARAMETERS)

live: binaries $(VENV)/ready ## Reads two real Regions and judges them (POLICY=... PRIMARY=... SECONDARY=... LOCATIONS="HERE=THERE ..."); writes nothing
	@test -n "$(POLICY)" -a -n "$(PRIMARY)" -a -n "$(SECONDARY)" || \
	    { echo 'make live POLICY=policy.toml PRIMARY=us-east-1 SECONDARY=ap-south-1 LOCATIONS="s3://a=s3://b"'; exit 1; }
	target/debug/twinlake plan --policy $(POLICY) || test $$? -eq 2
	$(PY) tests/local/compare.py --primary $(PRIMARY) --secondary $(SECONDARY) \
	    $(foreach pair,$(LOCATIONS),--location $(pair))

clean: ## Removes what was built and installed here
	rm -rf target $(VENV)

.PHONY: binaries
binaries:
	cargo build --workspace --locked

$(VENV)/ready: tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

# Built once, without the advisories' network code being used.
$(DENY):
	cargo install cargo-deny --version 0.20.2 --locked --root $(TOOLS)
