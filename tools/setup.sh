# shellcheck shell=bash
# Sourced by tools/demo and tools/test: a Python environment of their own in .tools/ and Debian packages.
#
# need_packages PROGRAM=PACKAGE ...     install what is missing; a library has a whole path
# need_python STAMP PIP-ARGUMENT ...    make the environment, or find it as it should be
#
# tell_purpose ARGUMENT ...              print the comment at the head of the tool and end, if it is asked for help
#
# A second call finds everything done: stamps are named after a hash of the requirement files.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS=$ROOT/.tools
export PYTHON=$TOOLS/venv/bin/python
# What is started here is on loopback, which no proxy can reach.
export no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}"
export NO_PROXY=$no_proxy

say() { echo "$(basename "$0"): $*" >&2; }
die() { say "$*"; exit 1; }

tell_purpose() {
    case ${1:-} in -h|--help) sed -n '2,/^[^#]/s/^# \?//p' "$0"; exit 0 ;; esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}

# Packages must not start servers on their standard ports, now or at the next boot: a policy forbids it
# during the installation, unless this machine has one already.
POLICY=/usr/sbin/policy-rc.d
install_packages() {
    command -v apt-get >/dev/null || die "no apt-get here; install by hand what has: $PACKAGES"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        die "packages are missing, and this is neither root nor is there sudo; as root: apt-get install $PACKAGES"
    say "installing Debian packages: $PACKAGES"
    local log=$TOOLS/apt.log made=
    mkdir -p "$TOOLS"
    if ! [ -e $POLICY ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $POLICY >/dev/null
        as_root chmod 755 $POLICY; made=yes
    fi
    # shellcheck disable=SC2086
    if as_root env DEBIAN_FRONTEND=noninteractive sh -c \
            "{ apt-get update -q; } && apt-get install -q -y --no-install-recommends $PACKAGES" >"$log" 2>&1
    then local failed=; else local failed=yes; fi
    [ -z "$made" ] || as_root rm -f $POLICY
    [ -z "$failed" ] || { tail -n 5 "$log" >&2; die "apt-get failed; all it said is in $log"; }
    [ -d /run/systemd/system ] || return 0
    for unit in prometheus prometheus-node-exporter postgresql mariadb influxdb clickhouse-server; do
        case " $PACKAGES " in *" $unit "*|*" $unit-server "*)
            as_root systemctl disable --quiet $unit 2>/dev/null || true ;;
        esac
    done
}

has_program() {
    local path
    case $1 in /*) [ -e "$1" ]; return ;; esac
    for path in "$(command -v "$1")" /usr/sbin/"$1" /usr/lib/postgresql/*/bin/"$1"; do
        [ -x "$path" ] && return 0
    done
    return 1
}

need_packages() {
    PACKAGES=
    for pair in "$@"; do
        has_program "${pair%%=*}" || PACKAGES="$PACKAGES ${pair#*=}"
    done
    PACKAGES=${PACKAGES# }
    [ -z "$PACKAGES" ] || install_packages
}

find_python() {
    for BASE in python3 python3.13 python3.12 python3.11; do
        "$BASE" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return 0
    done
    die "Python 3.11 or newer is needed; python3 here is $(python3 --version 2>&1 || echo missing)"
}

make_venv() {
    say "making a Python environment in $TOOLS/venv"
    rm -rf "$TOOLS/venv"; mkdir -p "$TOOLS"
    if ! "$BASE" -c 'import ensurepip, venv' 2>/dev/null; then
        PACKAGES=$("$BASE" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        install_packages
    fi
    "$BASE" -m venv "$TOOLS/venv" >"$TOOLS/venv.log" 2>&1 || {
        tail -n 3 "$TOOLS/venv.log" >&2; die "$BASE -m venv failed"; }
}

install_python() {
    say "installing Python packages (once, a minute or two)"
    # Without git there is no version to be found; any will do here.
    git -C "$ROOT" describe --always >/dev/null 2>&1 || export PBR_VERSION=${PBR_VERSION:-26.0.0}
    (cd "$ROOT" && "$PYTHON" -m pip install -q --disable-pip-version-check -c constraints.txt "$@" \
        && "$PYTHON" -m pip install -q --disable-pip-version-check --no-deps -e .) >"$TOOLS/pip.log" 2>&1 || {
        tail -n 5 "$TOOLS/pip.log" >&2; die "pip failed; all it said is in $TOOLS/pip.log"; }
}

need_python() {
    local name=$1; shift
    find_python
    local stamp
    stamp=$TOOLS/venv/.$name-$( (cd "$ROOT" && "$BASE" --version && echo "$ROOT" \
        && cat requirements.txt test-requirements.txt constraints.txt setup.cfg) | sha256sum | cut -c1-16)
    [ -e "$stamp" ] && [ -x "$PYTHON" ] && return 0
    "$PYTHON" -m pip --version >/dev/null 2>&1 || make_venv
    install_python "$@"
    touch "$stamp"
}
