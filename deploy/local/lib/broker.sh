# shellcheck shell=bash
# The Kafka broker: Tansu, memory only. A restart empties it; a fresh cluster id per boot lets clients notice.

# Waits until the broker answers metadata requests under the cluster id given. Exits 1 when the process is gone, 2 when
# time is up.
readonly broker_probe='
import os, sys, time
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
bootstrap, cluster, pid = sys.argv[1], sys.argv[2], sys.argv[3]
client = AdminClient({"bootstrap.servers": bootstrap, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100},
                     logger=None)
deadline = time.monotonic() + 120
while time.monotonic() < deadline:
    try:
        if client.list_topics(timeout=1).cluster_id == cluster:
            sys.exit(0)
    except KafkaException:
        pass
    with open(f"/proc/{pid}/stat") if os.path.exists(f"/proc/{pid}/stat") else open(os.devnull) as stat:
        if stat.read().rpartition(")")[2].split()[:1] in ([], ["Z"]):
            sys.exit(1)
    time.sleep(0.05)
sys.exit(2)
'

broker_start() { # [same-port]
    local log=$state/log/broker.log program port cluster written outcome
    program=$(broker_program) || fail "$exit_unavailable" "no broker; run 'deploy/local/stack install'"
    for _ in {1..5}; do
        port=$(settle_port broker) || exit
        cluster=rollcall-$(</proc/sys/kernel/random/uuid)
        written=$(stat -c %s -- "$log" 2>/dev/null || printf 0)
        launch broker env NO_COLOR=1 "$program" broker --listener-url "tcp://127.0.0.1:$port" \
            --advertised-listener-url "tcp://127.0.0.1:$port" --storage-engine memory://tansu/ --cluster-id "$cluster"
        outcome=0
        step "$state/log/broker-probe.log" "$venv/bin/python" -c "$broker_probe" "127.0.0.1:$port" "$cluster" \
            "$launched" || outcome=$?
        if ((outcome == 0)) && pid_of broker >/dev/null; then
            printf '%s\n' "$cluster" >"$state/broker.cluster"
            return 0
        fi
        ((outcome < 2)) ||
            fail_step "starting the broker" "no answer on 127.0.0.1:$port within 120 s" "$log"
        # Somebody took the port since it was settled.
        if [[ ${1:-} == same-port ]]; then break; fi
        tail -c "+$((written + 1))" -- "$log" | grep -q AddrInUse || break
    done
    fail_step "starting the broker" "it exited during start" "$log"
}

broker_up() {
    local pid
    if pid=$(pid_of broker); then
        say "broker: already running, pid $pid, port $(<"$state/broker.port")"
        return
    fi
    broker_start
    say "broker: running, pid $(pid_of broker), port $(<"$state/broker.port"), cluster $(<"$state/broker.cluster")"
}

broker_restart() {
    local port
    [[ -s $state/broker.port ]] ||
        fail "$exit_unavailable" "there has been no broker in $state; run 'deploy/local/stack up'"
    port=$(<"$state/broker.port")
    stop_process broker
    ! port_listening "$port" ||
        fail "$exit_unavailable" "something else listens on the broker's port $port; clients would not find it" \
            "anywhere else, so it stays down"
    broker_start same-port
    say "broker: running empty, pid $(pid_of broker), port $(<"$state/broker.port"), cluster $(<"$state/broker.cluster")"
}
