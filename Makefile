.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-local check layers licences audit explore bench build deploy live clean

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
TOOLS := target/tools
DENY := $(TOOLS)/bin/cargo-deny
ARCH ?= arm64
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
	TWINLAKE_EXPLORE=1 cargo test --workspace --locked --test properties -- --nocapture

bench: $(VENV)/ready ## Calls against the API's floor, start-up, memory, zips
	cargo build --workspace --release --locked
	$(PY) tests/local/bench.py

build: $(VENV)/ready ## Release zips for Lambda (ARCH=arm64 or x86_64)
	$(VENV)/bin/cargo-lambda lambda build --release --locked --output-format zip \
	    --package twinlake-lambda --$(if $(filter arm64,$(ARCH)),arm64,x86-64)

deploy: $(VENV)/ready ## Deploys both halves (PRIMARY=... SECONDARY=... ARCH=...), after `make build`
	@test -n "$(PRIMARY)" -a -n "$(SECONDARY)" || \
	    { echo "make deploy PRIMARY=us-east-1 SECONDARY=ap-south-1"; exit 1; }
	$(VENV)/bin/sam deploy --stack-name twinlake --region $(PRIMARY) --resolve-s3 --no-fail-on-empty-changeset \
	    --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
	    --parameter-overrides PeerRegion=$(SECONDARY) Architecture=$(ARCH)
	$(VENV)/bin/sam deploy --stack-name twinlake --region $(SECONDARY) --resolve-s3 --no-fail-on-empty-changeset \
	    --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
	    --parameter-overrides PeerRegion=$(PRIMARY) Architecture=$(ARCH)

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
