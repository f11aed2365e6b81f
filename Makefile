# The words that a person needs; .ci/run uses the same. ARGS goes on: make demo ARGS='--for=20s -- --stderr'

ARGS ?=

.PHONY: help demo test test-trino soak check check-macos bench doc fuzz

help:
	@echo 'make demo    build, start a demo cluster on loopback, and follow one of its jobs (ARGS=--help says more)'
	@echo 'make test    install the system packages that tests need where that is allowed, and run every test'
	@echo 'make test-trino  every question, function and refusal on a real Trino 435, which Maven fetches once; needs a JDK 17 (REWRITE_EXPECTED=1)'
	@echo 'make soak    more seeds and more kills than make test has time for (SEEDS=5000 KILLS=1000)'
	@echo 'make check   formatting, clippy, documentation; warnings are errors'
	@echo 'make check-macos  the types for macOS, as far as they can be checked without a Mac'
	@echo 'make bench   benches of the hot paths, then of the whole program'
	@echo 'make doc     the documentation of the code, in target/doc'
	@echo 'make fuzz    fuzz targets, each for a while; needs a nightly compiler (ARGS=120 for seconds, ARGS="60 record" for one)'

demo:
	cargo build --release -p e2e --bin demo -p tailll --bin tailll -p shipper --bin shipper
	@cargo run --release -q -p e2e --bin demo -- $(ARGS)

test:
	scripts/test-packages.sh
	cargo test --workspace $(ARGS)

test-trino:
	scripts/test-trino.sh $(ARGS)

soak:
	scripts/test-packages.sh
	SHIPPER_SEEDS=$(or $(SEEDS),1000) SHIPPER_KILLS=$(or $(KILLS),200) \
		cargo test --release -p e2e --test shipper_simulator --test shipper_process -- --nocapture
	TIMELINE_SEEDS=100 cargo test --release -p e2e --test timeline -- --nocapture

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

check-macos:
	scripts/check-macos.sh $(ARGS)

bench:
	scripts/test-packages.sh bench
	cargo bench --workspace
	cargo build --release --workspace --bins --benches
	$${CARGO_TARGET_DIR:-target}/release/bench $(ARGS)

doc:
	cargo doc --workspace --no-deps

fuzz:
	scripts/fuzz.sh $(ARGS)
