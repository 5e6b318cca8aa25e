# shellcheck shell=bash
# PostgreSQL: a private cluster on loopback, TCP with SCRAM only, no Unix socket (whose path is bounded at 107 bytes).

readonly postgres_database=rollcall postgres_admin=postgres

# PostgreSQL refuses to run as root; root runs it as user postgres.
as_postgres=()
if ((EUID == 0)); then as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups --); fi

# Prints the folder of the newest server of at least version 15, or of exactly one version.
postgres_programs() { # [VERSION]
    local folder version best='' best_version=14
    for folder in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
        [[ -x $folder/initdb && -x $folder/postgres && -x $folder/psql ]] || continue
        version=$("$folder/postgres" --version) || continue
        version=${version#*PostgreSQL) }
        version=${version%%[!0-9]*}
        [[ -z ${1:-} || $version == "$1" ]] || continue
        if ((version > best_version)); then best=$folder best_version=$version; fi
    done
    [[ -n $best ]] && printf '%s' "$best"
}

# Settles where the data lie and prints it. As root, a state folder that user postgres cannot reach is replaced by one
# under /var/tmp; `postgres.data` remembers that.
postgres_data() {
    local parent=$state hash
    if [[ -s $state/postgres.data ]]; then
        cat -- "$state/postgres.data"
        return
    fi
    if ((EUID == 0)) && ! "${as_postgres[@]}" test -x "$state" 2>/dev/null; then
        hash=$(printf '%s' "$state" | sha256sum)
        parent=/var/tmp/rollcall-${hash:0:12}
        if ! mkdir -m 755 -- "$parent" 2>/dev/null; then
            [[ -d $parent && ! -L $parent && -O $parent ]] ||
                fail "$exit_cannot_create" "user postgres cannot reach $state, and $parent, to be used instead, exists" \
                    "and is not ours"
        fi
        say "postgres: user postgres cannot reach $state; the data lie in $parent" >&2
        printf '%s\n' "$parent/postgres" >"$state/postgres.data"
    fi
    printf '%s' "$parent/postgres"
}

# Makes the cluster in a temporary folder and moves it into place when it is whole.
postgres_create() { # DATA PROGRAMS
    local parent=${1%/*} log=$state/log/postgres-initdb.log scratch code=0
    rm -rf -- "$parent"/postgres.new.*
    scratch=$parent/postgres.new.$$
    leftovers+=("$scratch")
    mkdir -m 700 -- "$scratch"
    od -An -v -N24 -tx1 /dev/urandom | tr -d ' \n' | write_private "$state/postgres.password"
    write_private "$scratch/password" <"$state/postgres.password"
    if ((EUID == 0)); then chown -R postgres: -- "$scratch"; fi
    say "postgres: making a database cluster"
    : >"$log"
    step "$log" env --chdir=/ LC_ALL=C.UTF-8 "${as_postgres[@]}" "$2/initdb" --pgdata="$scratch/data" \
        --username="$postgres_admin" --pwfile="$scratch/password" --auth=scram-sha-256 --encoding=UTF8 \
        --locale=C.UTF-8 --data-checksums || code=$?
    ((code == 0)) || fail_step "making the PostgreSQL cluster" "initdb exited with $code" "$log"
    mv -- "$scratch/data" "$1"
    rm -rf -- "$scratch"
}

postgres_query() { # PROGRAMS DATABASE SQL
    PGPASSWORD=$(<"$state/postgres.password") PGCONNECT_TIMEOUT=60 "$1/psql" --no-psqlrc --quiet --tuples-only \
        --no-align --set=ON_ERROR_STOP=1 --host=127.0.0.1 --port="$(<"$state/postgres.port")" \
        --username="$postgres_admin" --dbname="$2" --command="$3"
}

# Waits until the server answers; returns 1 when it has exited, 2 when it takes too long.
postgres_wait() { # PROGRAMS PORT
    local deadline=$((SECONDS + 180))
    until "$1/pg_isready" --quiet --host=127.0.0.1 --port="$2"; do
        pid_of postgres >/dev/null || return 1
        ((SECONDS < deadline)) || return 2
        sleep 0.1
    done
    pid_of postgres >/dev/null || return 1
}

# After a kill: waits for the last server process in the data folder, then removes the lock file of a server that is
# dead but that nobody has reaped, which PostgreSQL would take for a live one.
postgres_clear_lock() { # DATA
    local deadline=$((SECONDS + 60)) folder busy pid
    [[ -s $1/postmaster.pid ]] || return 0
    while :; do
        busy=''
        for folder in /proc/[0-9]*/cwd; do
            if [[ $(readlink -- "$folder") == "$1" ]]; then busy=${folder//[!0-9]/}; fi
        done
        [[ -n $busy ]] || break
        ((SECONDS < deadline)) ||
            fail "$exit_software" "starting PostgreSQL failed: process $busy, which this stack does not know, uses $1"
        sleep 0.1
    done
    read -r pid <"$1/postmaster.pid" || true
    if process_stat "$pid" && [[ $stat_letter == Z ]]; then rm -f -- "$1/postmaster.pid"; fi
}

postgres_start() { # DATA PROGRAMS
    local log=$state/log/postgres.log port attempt written outcome
    for attempt in {1..10}; do
        port=$(settle_port postgres) || exit
        postgres_clear_lock "$1"
        written=$(stat -c %s -- "$log" 2>/dev/null || printf 0)
        launch postgres env --chdir=/ LC_ALL=C.UTF-8 "${as_postgres[@]}" "$2/postgres" -D "$1" -p "$port" \
            -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 \
            -c shared_buffers=256MB -c fsync=on -c timezone=UTC -c log_timezone=UTC -c logging_collector=off \
            -c log_destination=stderr -c 'log_line_prefix=%m [%p] %q%u@%d %a '
        outcome=0
        postgres_wait "$2" "$port" || outcome=$?
        ((outcome != 0)) || return 0
        ((outcome == 1)) ||
            fail_step "starting PostgreSQL" "no answer on 127.0.0.1:$port within 180 s" "$log"
        # Somebody took the port since, or the last backend of a killed server is still on its way out.
        tail -c "+$((written + 1))" -- "$log" | grep -qE 'Address already in use|pre-existing shared memory' || break
        sleep 0.3
    done
    fail_step "starting PostgreSQL" "it exited during start (attempt $attempt)" "$log"
}

postgres_up() {
    local data programs pid log=$state/log/postgres.log
    if pid=$(pid_of postgres); then
        say "postgres: already running, pid $pid, port $(<"$state/postgres.port")"
        return
    fi
    if ((EUID == 0)) && ! id -u postgres >/dev/null 2>&1; then
        fail "$exit_unavailable" "there is no user postgres, which root needs to run PostgreSQL; install the" \
            "distribution's package, or run this as an ordinary user"
    fi
    data=$(postgres_data) || exit
    if [[ -d $data ]]; then
        programs=$(postgres_programs "$(<"$data/PG_VERSION")") ||
            fail "$exit_unavailable" "$data was made by PostgreSQL $(<"$data/PG_VERSION"), which is not installed;" \
                "install it, or start afresh with 'deploy/local/stack down --purge'"
        [[ -s $state/postgres.password ]] ||
            fail "$exit_software" "$state/postgres.password is missing; start afresh with" \
                "'deploy/local/stack down --purge'"
    else
        programs=$(postgres_programs) ||
            fail "$exit_unavailable" "no PostgreSQL of version 15 or later; run 'deploy/local/stack install'"
        postgres_create "$data" "$programs"
    fi
    postgres_start "$data" "$programs"
    if [[ -z $(postgres_query "$programs" postgres \
        "SELECT 1 FROM pg_database WHERE datname = '$postgres_database'" 2>>"$log") ]]; then
        postgres_query "$programs" postgres "CREATE DATABASE $postgres_database" >>"$log" 2>&1 ||
            fail_step "creating database $postgres_database" "psql refused" "$log"
    fi
    say "postgres: running, pid $(pid_of postgres), port $(<"$state/postgres.port")"
}
