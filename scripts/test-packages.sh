#!/bin/sh
# Sees to it that the programs which the tests drive are installed: test-packages.sh [bench]
# Installs what is missing with apt-get as root or by sudo without a password; otherwise says what is missing and fails,
# so that no test is left out in silence. Starts no service and leaves existing ones as they are. For the benches tailspin is
# built as well, into the build's folder, and DuckDB for Python is put beside the other Python packages.
# Python packages (thrift, and moto with what it needs) are put into a folder of their own beside Cargo's results, or into
# $TAILLL_TEST_PYTHON, by pip with whatever index pip is told to use; nothing is asked for once they are there.
set -eu

# program:package
wanted='sshd:openssh-server ssh:openssh-client ssh-keygen:openssh-client ssh-agent:openssh-client busybox:busybox
    tcsh:tcsh dash:dash bash:bash ps:procps script:bsdutils python3:python3 sudo:sudo'
thrift=0.25.0 duckdb=2.0.1
python_folder=${TAILLL_TEST_PYTHON:-${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/test-python}
moto_list=$(dirname "$0")/../tests/moto/requirements.txt
have_thrift() { [ -d "$python_folder/thrift-$thrift.dist-info" ] && [ -d "$python_folder/thrift" ]; }
# The list that was installed lies beside what was installed.
have_moto() { [ -d "$python_folder/moto/moto" ] && cmp -s "$moto_list" "$python_folder/moto/requirements.txt"; }
# pip is only needed to put the packages there.
{ have_thrift && have_moto; } || wanted="$wanted pip:python3-pip"
case ${1-} in
'') ;;
bench) wanted="$wanted parallel-ssh:pssh taskset:util-linux" ;;
*) echo "usage: $0 [bench]" >&2; exit 2 ;;
esac

# sshd lies where only root's search path looks.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Sets $programs and $packages to what is missing.
look() {
    programs= packages=
    for pair in $wanted; do
        program=${pair%%:*} package=${pair#*:}
        case $program in
        pip) python3 -m pip --version >/dev/null 2>&1 && continue ;;
        *) command -v "$program" >/dev/null 2>&1 && continue ;;
        esac
        programs="$programs $program"
        case " $packages " in *" $package "*) ;; *) packages="${packages:+$packages }$package" ;; esac
    done
}

# Gets tailspin and DuckDB where the benches look for them, and ends well: without them figures are missing, and the bench says so.
peers() {
    [ "$what" = bench ] || exit 0
    [ -d "$python_folder/duckdb/duckdb-$duckdb.dist-info" ] ||
        python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$python_folder/duckdb" "duckdb==$duckdb" >&2 ||
        echo 'DuckDB could not be installed; its figures will be missing' >&2
    root=$(cd "$(dirname "$0")/.." && pwd)
    tools=${CARGO_TARGET_DIR-$root/target}/tools
    [ -x "$tools/bin/tspin" ] || command -v tspin >/dev/null 2>&1 ||
        cargo install tailspin --version 7.0.0 --locked --root "$tools" >&2 ||
        echo 'tailspin could not be built; its figures will be missing' >&2
    exit 0
}

what=${1-}

# The Python packages; a folder of their own needs no rights and changes no system's Python.
python_packages() {
    have_thrift || put_thrift
    have_moto || put_moto
}

put_moto() {
    echo "installing: moto for Python into $python_folder/moto" >&2
    rm -rf "$python_folder/moto.new"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$python_folder/moto.new" -r "$moto_list" >&2 || {
        echo "the tests need the Python packages of $moto_list; pip could not install them" >&2
        echo "where there is no network: put them into $python_folder/moto by hand, with pip install --target, and the list beside them" >&2
        exit 1
    }
    cp "$moto_list" "$python_folder/moto.new/requirements.txt"
    rm -rf "$python_folder/moto"
    mv "$python_folder/moto.new" "$python_folder/moto"
}

put_thrift() {
    echo "installing: thrift $thrift for Python into $python_folder" >&2
    rm -rf "$python_folder.new"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$python_folder.new" "thrift==$thrift" >&2 || {
        echo "the tests need the Python package thrift $thrift; pip could not install it" >&2
        echo "where there is no network: put it into $python_folder by hand, with pip install --target" >&2
        exit 1
    }
    rm -rf "$python_folder"
    mkdir -p "$(dirname "$python_folder")"
    mv "$python_folder.new" "$python_folder"
}

look
[ -n "$packages" ] || { python_packages; peers; }

command="apt-get install -y --no-install-recommends $packages"
if ! command -v apt-get >/dev/null 2>&1; then
    as=none
elif [ "$(id -u)" = 0 ]; then
    as=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as='sudo -n'
else
    as=none
fi

if [ "$as" != none ]; then
    echo "installing: $packages" >&2
    # At run level 1 the maintainer scripts' invoke-rc.d starts nothing.
    quiet='env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1'
    # A stale or partly unreachable index may still do; the install tells.
    $as $quiet apt-get update -qq >&2 || echo 'apt-get update failed; trying with the old lists' >&2
    $as $quiet $command >&2 || echo 'apt-get install failed' >&2
    look
    [ -n "$packages" ] || { python_packages; peers; }
fi

echo "missing for the tests:$programs" >&2
echo "on Debian or Ubuntu: sudo apt-get update && sudo apt-get install -y --no-install-recommends $packages" >&2
exit 1
