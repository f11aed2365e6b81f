#!/bin/sh
# Builds the fuzz targets with a nightly compiler and runs each for a while: fuzz.sh [SECONDS] [TARGET]...
# What a target finds is left in tests/fuzz/artifacts/TARGET/. Not part of `make test`.
set -eu
cd "$(dirname "$0")/.."

seconds=${1-30}
[ $# = 0 ] || shift
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo 'fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal' >&2
    exit 1
fi
targets=${*:-$(cd tests/fuzz/fuzz_targets && ls | sed 's/\.rs$//')}
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
build=${CARGO_TARGET_DIR-target/fuzz}

# Coverage for libFuzzer, and the address sanitizer for the libraries that are not safe Rust.
CARGO_TARGET_DIR=$build RUSTFLAGS='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Ccodegen-units=1 -Zsanitizer=address' \
    cargo +nightly build --manifest-path tests/fuzz/Cargo.toml --target "$host" \
    $(for target in $targets; do echo "--bin $target"; done)

for target in $targets; do
    corpus=tests/fuzz/corpus/$target found=tests/fuzz/artifacts/$target
    mkdir -p "$corpus" "$found"
    echo "$target: $seconds s"
    "$build/$host/debug/$target" "$corpus" -max_total_time="$seconds" -artifact_prefix="$found/" -print_final_stats=1 -verbosity=0
done
