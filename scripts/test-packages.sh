#!/bin/sh
# Sees to it that the programs which the tests drive are installed: test-packages.sh [bench]
# Installs what is missing with apt-get as root or by sudo without a password; otherwise says what is missing and fails,
# so that no test is left out in silence. Starts no service and leaves existing ones as they are.
set -eu

# program:package
wanted='sshd:openssh-server ssh:openssh-client ssh-keygen:openssh-client ssh-agent:openssh-client busybox:busybox
    tcsh:tcsh dash:dash bash:bash ps:procps script:bsdutils'
case ${1-} in
'') ;;
bench) wanted="$wanted parallel-ssh:pssh" ;;
*) echo "usage: $0 [bench]" >&2; exit 2 ;;
esac

# sshd lies where only root's search path looks.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Sets $programs and $packages to what is missing.
look() {
    programs= packages=
    for pair in $wanted; do
        program=${pair%%:*} package=${pair#*:}
        command -v "$program" >/dev/null 2>&1 && continue
        programs="$programs $program"
        case " $packages " in *" $package "*) ;; *) packages="${packages:+$packages }$package" ;; esac
    done
}

look
[ -n "$packages" ] || exit 0

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
    [ -n "$packages" ] || exit 0
fi

echo "missing for the tests:$programs" >&2
echo "on Debian or Ubuntu: sudo apt-get update && sudo apt-get install -y --no-install-recommends $packages" >&2
exit 1
