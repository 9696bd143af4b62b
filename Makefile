.DEFAULT_GOAL := help
.PHONY: help test check

help: ## Lists what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

check: ## Formatting, lints, layering
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

test: check ## Everything that needs no AWS account
	cargo test --workspace --locked
