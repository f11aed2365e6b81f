#!/bin/sh
# Compares our SQL with what Athena is made of: test-trino.sh [CARGO'S ARGUMENTS]
# Fetches Trino 435 with Maven into a folder outside of the checkout, $TRINO_CACHE or trino-435 in the user's cache (some 600 MB),
# once; then runs the tests that start it on loopback. They end it, and it ends with them. Not part of `make test`.
# REWRITE_EXPECTED=1 writes the expected rows anew, as Trino answers.
set -eu
cd "$(dirname "$0")/.."

cache=${TRINO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trino-435}
# Where Maven keeps what it has fetched; one of its own, as nothing else needs it.
repository=${TRINO_MAVEN_REPOSITORY:-$cache/repository}
list=tests/trino/pom.xml

missing() {
    echo "make test-trino needs $1" >&2
    echo "on Debian or Ubuntu: sudo apt-get install -y --no-install-recommends openjdk-17-jdk-headless maven" >&2
    exit 1
}

command -v java >/dev/null 2>&1 || missing 'java, a JDK of version 17 or newer'
# Only a JDK can run a source file, as the tests start the server.
command -v javac >/dev/null 2>&1 || missing 'a whole JDK of version 17 or newer: there is java, but no javac'
version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
[ "${version:-0}" -ge 17 ] || missing "a JDK of version 17 or newer; java is $version"

# The list that was fetched by lies beside what was fetched.
if ! cmp -s "$list" "$cache/server/pom.xml"; then
    command -v mvn >/dev/null 2>&1 || missing 'mvn, which fetches Trino'
    echo "fetching: Trino into $cache" >&2
    rm -rf "$cache/server.new"
    mkdir -p "$cache/server.new"
    mvn --batch-mode --quiet -f "$list" -Dmaven.repo.local="$repository" -Dfolder="$cache/server.new" package >&2 || {
        echo "Trino could not be fetched: mvn with $list failed" >&2
        exit 1
    }
    rm -rf "$cache/server.new/build" "$cache/server"
    cp "$list" "$cache/server.new/pom.xml"
    mv "$cache/server.new" "$cache/server"
fi

# S3 is moto's.
scripts/test-packages.sh
TRINO_FOLDER=$(cd "$cache/server" && pwd)
export TRINO_FOLDER
exec cargo test --workspace --test trino "$@" -- --ignored --nocapture
