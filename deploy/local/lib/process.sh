# shellcheck shell=bash
# Processes: started detached, known by pid, start time and boot, so that a pid used again is never taken for ours.

boot_id=$(</proc/sys/kernel/random/boot_id)
readonly boot_id

# Sets stat_letter, the state, and stat_ticks, the start time in clock ticks since boot; fails when there is no such
# process. It starts no process itself: an interrupt of the whole group would kill that one and leave the answer empty.
process_stat() { # PID
    local line='' fields
    stat_letter='' stat_ticks=''
    { IFS= read -r -d '' line <"/proc/$1/stat"; } 2>/dev/null || [[ -n $line ]] || return 1
    read -r -a fields <<<"${line##*) }"
    stat_letter=${fields[0]} stat_ticks=${fields[19]}
}

same_process() { # PID TICKS
    process_stat "$1" && [[ $stat_ticks == "$2" && $stat_letter != [ZX] ]]
}

# Prints the pid of a component that runs; fails when it does not.
pid_of() { # NAME
    local pid ticks boot
    { read -r pid ticks boot <"$state/run/$1.pid"; } 2>/dev/null || return 1
    [[ $boot == "$boot_id" ]] && same_process "$pid" "$ticks" || return 1
    printf '%s' "$pid"
}

# Starts a detached process. The pid file is written by the process itself before it becomes the command, so there is
# no moment at which it runs unrecorded.
launch() { # NAME COMMAND…
    local name=$1 file=$state/run/$1.pid
    shift
    hold_interrupts
    rm -f -- "$file"
    (
        close_inherited_files
        process_stat "$BASHPID"
        printf '%s %s %s\n' "$BASHPID" "$stat_ticks" "$boot_id" >"$file.new"
        mv -f -- "$file.new" "$file"
        exec env --default-signal setsid "$@" </dev/null >>"$state/log/$name.log" 2>&1
    ) &
    launched=$!
    started+=("$name")
    while [[ ! -e $file ]] && kill -0 "$launched" 2>/dev/null; do sleep 0.01 || true; done
    release_interrupts
}

# Everything below a process, deepest last.
descendants() { # PID
    { cat /proc/[0-9]*/status 2>/dev/null || true; } | awk -v top="$1" '
        /^Pid:/ { pid = $2 }
        /^PPid:/ { parent[pid] = $2 }
        END { for (pid in parent) {
            above = parent[pid]
            while (above != top && above > 1 && above in parent) above = parent[above]
            if (above == top) print pid
        } }'
}

wait_until_gone() { # PID TICKS SECONDS
    local deadline=$((SECONDS + $3))
    while same_process "$1" "$2"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# Whether a process group has a member that still runs; one that is dead but not reaped does not count.
group_runs() { # GROUP
    { cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v group="$1" '
        { sub(/.*\) /, "") }
        $3 == group && $1 !~ /[ZX]/ { found = 1 }
        END { exit !found }'
}

wait_until_group_gone() { # GROUP SECONDS
    local deadline=$((SECONDS + $2))
    while group_runs "$1"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# Stops a component within a bound. PostgreSQL alone takes its signal at its first process; of anything else the whole
# process group is told.
stop_process() { # NAME [kill]
    local name=$1 how=${2:-} pid ticks below
    local file=$state/run/$name.pid
    if ! pid=$(pid_of "$name"); then
        rm -f -- "$file"
        return 0
    fi
    read -r _ ticks _ <"$file"
    if [[ $how == kill ]]; then
        below=$(descendants "$pid")
        # shellcheck disable=SC2086 # one word per pid
        kill -KILL "$pid" $below 2>/dev/null || true
        wait_until_gone "$pid" "$ticks" 10 || fail "$exit_software" "$name (pid $pid) does not die of SIGKILL"
    elif [[ $name == postgres ]]; then
        kill -INT "$pid" 2>/dev/null || true
        if ! wait_until_gone "$pid" "$ticks" 30; then
            say "postgres: still running 30 s after a fast shutdown was asked for; shutting down at once" >&2
            kill -QUIT "$pid" 2>/dev/null || true
            wait_until_gone "$pid" "$ticks" 10 || stop_process "$name" kill
        fi
    else
        kill -TERM -- "-$pid" 2>/dev/null || kill -TERM "$pid" 2>/dev/null || true
        if ! wait_until_gone "$pid" "$ticks" 20 || ! wait_until_group_gone "$pid" 20; then
            say "$name: still running 20 s after SIGTERM; killing it" >&2
            kill -KILL -- "-$pid" 2>/dev/null || true
            wait_until_group_gone "$pid" 10 || fail "$exit_software" "$name (pid $pid) does not die of SIGKILL"
        fi
    fi
    rm -f -- "$file"
}

# Ports. Any use of a port rules it out as a new choice; a remembered one is free unless somebody listens on it.

port_in_state() { # PORT STATE-PATTERN
    local hex
    printf -v hex '%04X' "$1"
    grep -qsE "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F]+:[0-9A-F]+ $2 " /proc/net/tcp /proc/net/tcp6
}

port_listening() { port_in_state "$1" 0A; }

# Prints a free port below the range that the kernel gives to outgoing connections.
free_port() {
    local port
    for _ in {1..200}; do
        port=$((20000 + SRANDOM % 12000))
        port_in_state "$port" '..' || {
            printf '%s' "$port"
            return 0
        }
    done
    return 1
}

# Settles the port of a component: the remembered one when it is free, else a new one. Prints it.
settle_port() { # NAME
    local file=$state/$1.port port=''
    if [[ -s $file ]]; then port=$(<"$file"); fi
    if [[ ! $port =~ ^[0-9]+$ ]] || port_listening "$port"; then
        port=$(free_port) || fail "$exit_unavailable" "found no free port between 20000 and 31999 for $1"
        printf '%s\n' "$port" >"$file"
    fi
    printf '%s' "$port"
}

# Prints the TCP ports that a process listens on, one blank between two.
listening_ports() { # PID
    local inodes hex ports=()
    inodes=$({ ls -l "/proc/$1/fd" 2>/dev/null || true; } | sed -n 's/.*socket:\[\([0-9]*\)\]$/\1/p')
    while read -r hex; do
        [[ -z $hex ]] || ports+=("$((16#$hex))")
    done < <(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v inodes="$inodes" '
        BEGIN { n = split(inodes, list); for (i = 1; i <= n; i++) ours[list[i]] = 1 }
        $4 == "0A" && $10 in ours { sub(/.*:/, "", $2); if (!seen[$2]++) print $2 }')
    printf '%s' "${ports[*]}"
}

# Prints how long a process has been running, in whole seconds.
uptime_of() { # PID
    local now
    process_stat "$1" || return 0
    read -r now _ </proc/uptime
    printf '%s' "$((${now%.*} - stat_ticks / $(getconf CLK_TCK)))"
}

readable_duration() { # SECONDS
    if (($1 < 60)); then
        printf '%ds' "$1"
    elif (($1 < 3600)); then
        printf '%dm %02ds' "$(($1 / 60))" "$(($1 % 60))"
    else
        printf '%dh %02dm' "$(($1 / 3600))" "$(($1 % 3600 / 60))"
    fi
}
