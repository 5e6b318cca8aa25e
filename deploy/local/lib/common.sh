# shellcheck shell=bash
# Messages, exit codes, the state folder, interrupts.

readonly exit_usage=64 exit_unavailable=69 exit_software=70 exit_cannot_create=73 exit_try_again=75

say() { printf '%s\n' "$*"; }

fail() { # CODE MESSAGE…
    local code=$1
    shift
    printf 'stack: %s\n' "$*" >&2
    exit "$code"
}

fail_step() { # STEP WHY LOG
    printf 'stack: %s failed: %s\n' "$1" "$2" >&2
    if [[ -s $3 ]]; then
        printf 'stack: log: %s, which ends with:\n' "$3" >&2
        tail -n 8 -- "$3" | sed 's/^/    /' >&2
    fi
    exit "$exit_software"
}

# Interrupts. Bash runs a trap between two commands, so one could fall between starting a process and noting it.
# Inside `hold_interrupts` … `release_interrupts` it is only remembered.

held=0 interrupted=0 step_pid='' step_ticks='' started=() leftovers=()

on_interrupt() { # EXIT-CODE
    interrupted=$1
    ((held == 0)) || return 0
    trap '' INT TERM HUP
    exit "$1"
}

hold_interrupts() { held=1; }

release_interrupts() {
    held=0
    ((interrupted == 0)) || on_interrupt "$interrupted"
}

on_exit() {
    local code=$? name index
    trap '' INT TERM HUP
    trap - EXIT
    if [[ -n $step_pid ]]; then end_step; fi
    if ((code != 0)); then
        for ((index = ${#started[@]} - 1; index >= 0; index--)); do
            name=${started[index]}
            stop_process "$name" || true
        done
        ((interrupted == 0)) || printf 'stack: interrupted; whatever this command had started is stopped\n' >&2
    fi
    for name in "${leftovers[@]}"; do rm -rf -- "$name"; done
    exit "$code"
}

catch_interrupts() {
    trap 'on_interrupt 130' INT
    trap 'on_interrupt 143' TERM
    trap 'on_interrupt 129' HUP
    trap on_exit EXIT
}

# Closes what the caller had open beyond standard input, output and error: a process that outlives this command must
# not hold the caller's pipes or our lock.
close_inherited_files() {
    local file
    for file in "/proc/$BASHPID/fd/"*; do
        file=${file##*/}
        if ((file > 2 && file != 255)); then exec {file}>&-; fi
    done
}

# Ends the step that an interrupt cut short. It never uses `wait`: bash may have lost the child's end when the trap broke
# into another `wait`, and would wait for ever.
end_step() {
    process_stat "$step_pid" || true
    [[ -z $stat_ticks || $stat_ticks == "$step_ticks" ]] || return 0
    if ! kill -TERM -- "-$step_pid" 2>/dev/null && [[ -n $stat_ticks ]]; then
        kill -TERM "$step_pid" 2>/dev/null || true
    fi
    if ! wait_until_gone "$step_pid" "$step_ticks" 10 || ! wait_until_group_gone "$step_pid" 10; then
        kill -KILL -- "-$step_pid" 2>/dev/null || true
    fi
}

# Runs one long step in a session of its own, so that an interrupt ends it whole, and returns its exit code.
step() { # LOG COMMAND…
    local log=$1 code=0
    shift
    hold_interrupts
    (
        close_inherited_files
        exec env --default-signal setsid "$@" </dev/null >>"$log" 2>&1
    ) &
    step_pid=$!
    process_stat "$step_pid" || true
    step_ticks=$stat_ticks
    release_interrupts
    wait "$step_pid" || code=$?
    step_pid=''
    return "$code"
}

# The state folder. A marker says that it is ours, so that nothing else is ever written to or deleted.

state_open() {
    if [[ -d $state ]]; then
        if [[ ! -e $state/.stack && $state != "$root/.rollcall" && -n $(ls -A -- "$state") ]]; then
            fail "$exit_cannot_create" "$state holds files that no stack made; set ROLLCALL_STATE to a new or empty folder"
        fi
        if [[ $(stat -c %u -- "$state") != "$EUID" ]]; then
            fail "$exit_cannot_create" "$state belongs to user $(stat -c %U -- "$state"); run this as that user, or set" \
                "ROLLCALL_STATE to a folder of your own"
        fi
    else
        mkdir -p -- "$state" || fail "$exit_cannot_create" "cannot make the state folder $state"
    fi
    : >"$state/.stack" || fail "$exit_cannot_create" "cannot write in the state folder $state"
    mkdir -p -- "$state/log" "$state/run"
}

state_exists() { [[ -e $state/.stack ]]; }

# One command at a time changes a stack; the others wait.
state_lock() {
    exec {lock}>"$state/lock"
    flock -w 180 "$lock" ||
        fail "$exit_try_again" "another stack command has been busy with $state for 180 s; try again when it is done"
}

# Replaces a file in one move, readable by its owner only.
write_private() { # PATH, content on standard input
    (umask 077 && cat >"$1.new") && mv -f -- "$1.new" "$1"
}

# Exports a file of KEY=value lines. Values are literal: no quotes, no expansion.
load_environment() { # PATH
    local line
    while IFS= read -r line || [[ -n $line ]]; do
        [[ -n $line && $line != '#'* ]] || continue
        [[ $line =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || fail "$exit_usage" "$1: not a KEY=value line: ${line%%=*}"
        if [[ $line == LD_LIBRARY_PATH=* && -n ${LD_LIBRARY_PATH:-} ]]; then line+=":$LD_LIBRARY_PATH"; fi
        export "${line?}"
    done <"$1"
}
