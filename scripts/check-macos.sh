#!/bin/sh
# Type-checks the program for macOS, as far as a machine without Apple's SDK can. On a Mac, `cargo check` is the real thing.
#
# The cryptography has parts in C and assembler, which only Apple's tools can build. Checking Rust code needs none of their
# results, so a stand-in for the compiler makes empty files. What this does not show: that the C parts build, that the program
# links, and that it runs.
set -eu
cd "$(dirname "$0")/.."
target=${1:-aarch64-apple-darwin}

if [ "$(uname -s)" = Darwin ]; then
    exec cargo check --target "$target" -p joblog -p tailll
fi

if ! rustup target list --installed | grep -qx "$target"; then
    rustup target add "$target"
fi

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT INT TERM
# Asked for a file, it makes an empty one; asked anything else, it agrees.
cat >"$tools/stand-in-cc" <<'END'
#!/bin/sh
while [ $# -gt 0 ]; do
    if [ "$1" = -o ] && [ $# -gt 1 ]; then : >"$2"; fi
    shift
done
END
cat >"$tools/stand-in-ar" <<'END'
#!/bin/sh
for one; do case $one in *.a) : >"$one" ;; esac; done
END
cat >"$tools/xcrun" <<'END'
#!/bin/sh
echo /
END
chmod +x "$tools/stand-in-cc" "$tools/stand-in-ar" "$tools/xcrun"

name=$(printf %s "$target" | tr - _)
# A folder of its own for results: empty libraries must not be taken for real ones.
env "CC_$name=$tools/stand-in-cc" "CXX_$name=$tools/stand-in-cc" "AR_$name=$tools/stand-in-ar" "RANLIB_$name=true" PATH="$tools:$PATH" \
    SDKROOT=/ AWS_LC_SYS_NO_JITTER_ENTROPY=1 \
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/check-macos" \
    cargo check --target "$target" -p joblog -p tailll

cat <<END
checked for $target: the Rust code of joblog, tailll and all that they use.
not checked, since it takes a Mac: the C and assembler parts of the cryptography, linking, and running.
END
