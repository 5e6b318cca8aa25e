"""The projector against the limit of its own SQL and against a peer. `make bench-projector` runs it."""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone

import psycopg

import latency
import research
import tape
import workload
from processes import Meter, Projector, free_port, resident_mib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
PASSWORD = "password-of-a-benchmark"


def say(*words):
    print(f"[{time.monotonic() - STARTED:5.0f} s]", *words, flush=True)


class Bench:
    def __init__(self, options):
        self.options = options
        self.state = os.environ["ROLLCALL_STATE"]
        self.program = os.path.join(options.programs, "status-projector")
        self.rows, self.recordings = [], 0
        self.read_stack()
        today = int(time.time() // 86400 * 86_400_000)
        self.blasts = workload.blast_ids(today)

    def read_stack(self):
        with open(os.path.join(self.state, "stack.env")) as file:
            self.stack = dict(line.rstrip("\n").split("=", 1) for line in file)
        pids = [open(os.path.join(self.state, "run", f"{name}.pid")).read().split()[0] for name in
                ("postgres", "broker")]
        self.postgres, self.broker = map(int, pids)
        self.bootstrap = self.stack["ROLLCALL_KAFKA_BOOTSTRAP"]

    def restart_broker(self, partitions):
        """An empty broker with the topics of the comparison."""
        self.partitions = partitions
        subprocess.run([os.path.join(ROOT, "deploy/local/stack"), "restart-broker"], check=True,
                       stdout=subprocess.DEVNULL)
        self.read_stack()
        workload.make_topics(self.bootstrap, partitions)

    # The database: one template, and a copy of it for every run.

    def conninfo(self, database, role=None):
        user = role or self.stack["ROLLCALL_POSTGRES_ADMIN_USER"]
        password = PASSWORD if role else self.stack["ROLLCALL_POSTGRES_ADMIN_PASSWORD"]
        return (f"host=127.0.0.1 port={self.stack['ROLLCALL_POSTGRES_PORT']} dbname={database} user={user} "
                f"password={password}")

    def environment(self, database):
        keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment = keep | self.stack | {
            "ROLLCALL_POSTGRES_DATABASE": database, "ROLLCALL_POSTGRES_PASSWORD": PASSWORD, "ROLLCALL_LOG_LEVEL": "info",
            "ROLLCALL_PROJECTOR_SOURCE_PARTITIONS": str(self.partitions),
            "ROLLCALL_KAFKA_CLIENT_OVERRIDES": "session.timeout.ms=2000,heartbeat.interval.ms=500"}
        return environment

    def administer(self, *statements, database="postgres"):
        with psycopg.connect(self.conninfo(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def make_template(self, recipients):
        name = f"template_{recipients}"
        self.administer(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
        environment = self.environment(name)
        subprocess.run([os.path.join(self.options.programs, "rollcall"), "migrate", "--service-password-from-env"],
                       env=environment, check=True, stdout=subprocess.DEVNULL)
        with psycopg.connect(self.conninfo(name), options="-c search_path=rollcall") as connection:
            connection.execute("INSERT INTO district (district_id, name) VALUES (1, 'Benchville')")
            for index, blast in enumerate(self.blasts):
                audience = len(range(index, recipients, workload.BLASTS))
                connection.execute(
                    "INSERT INTO blast (blast_id, district_id, subject, text_template, from_address, in_doubt_policy,"
                    " state, send_requested_at, audience, created_by) VALUES (%s, 1, 's', 't', 'a@b.example',"
                    " 'at_most_once', 'sending', now(), %s, 'bench')", (blast, audience))
                connection.execute("INSERT INTO delivery_status (blast_id, recipient_no, district_id)"
                                   " SELECT %s, n, 1 FROM generate_series(1, %s) n", (blast, audience))
                connection.execute("INSERT INTO blast_count VALUES (%s, -1, 1, 1, %s)", (blast, audience))
        self.administer("ANALYZE", database=name)
        return name

    def fresh_database(self, template):
        self.administer("DROP DATABASE IF EXISTS run", f"CREATE DATABASE run TEMPLATE {template} STRATEGY file_copy",
                        "CHECKPOINT")
        return "run"

    def check(self, database, events, recipients, seen=""):
        """A fast wrong answer is worth nothing: every fact is there, counted, and nothing was parked."""
        with psycopg.connect(self.conninfo(database), options="-c search_path=rollcall") as connection:
            facts = dict(connection.execute("SELECT facts, count(*) FROM delivery_status GROUP BY facts").fetchall())
            counts = dict(connection.execute(
                "SELECT facts, sum(n)::bigint FROM blast_count GROUP BY facts HAVING sum(n) <> 0").fetchall())
            logged, parked = connection.execute(
                "SELECT (SELECT count(*) FROM delivery_log),"
                " (SELECT count(*) FROM dead_letter) + (SELECT count(*) FROM late_event)").fetchone()
        expected = {}
        for recipient in range(recipients):
            final = workload.final_facts(workload.place(recipient)[1])
            expected[final] = expected.get(final, 0) + 1
        if (facts, counts, logged, parked) != (expected, expected, events, 0):
            raise SystemExit(f"bench: {seen} ended wrong: {facts}, counted {counts}, instead of {expected};"
                             f" {logged} of {events} log rows, {parked} parked")

    # The contenders.

    def run_projectors(self, count, template, events, recipients, label, environment=()):
        database = self.fresh_database(template)
        projectors = [
            Projector(self.program, self.environment(database) | dict(environment),
                      os.path.join(self.state, "log", f"bench-projector-{index}.log")) for index in range(count)]
        try:
            seen = self.watch(projectors, events)
        finally:
            for projector in projectors:
                projector.stop()
        self.check(database, events, recipients, label)
        return seen

    def watch(self, projectors, events):
        """From the first projected batch to the last published status."""
        meter, begun, memory, last, patience = None, 0, [], 0, time.monotonic() + 60
        while True:
            values = [projector.metrics() for projector in projectors]
            projected = [sum(value for name, value in each.items() if name.startswith(
                "rollcall_projector_events_total")) for each in values]
            published = sum(each.get("rollcall_projector_published_total", 0) for each in values)
            if meter is None and all(each > 0 for each in projected):
                meter, begun = Meter(self.postgres, self.broker, projectors), sum(projected)
            if meter:
                memory.append(max(resident_mib(each.pid) for each in projectors))
            if published >= events:
                seconds, parts = meter.stop()
                commits = [sum(each.get(f"rollcall_projector_commit_seconds_{name}", 0) for each in values)
                           for name in ("sum", "count")]
                return {"rate": (events - begun) / seconds, "seconds": seconds, "events": events - begun,
                        "parts": parts, "memory": memory, "commits": commits}
            if published > last:
                last, patience = published, time.monotonic() + 60
            if time.monotonic() > patience:
                raise SystemExit(f"bench: the projectors stand still at {published:.0f} of {events} events; the last"
                                 f" words of the first: {projectors[0].last_words()}")
            time.sleep(0.25 if meter else 0.02)

    def record_tape(self, template, events, recipients, partitions):
        folder = os.path.join(self.state, "tape")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        port = free_port()
        recorder = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "tape.py"), "record", str(port), "127.0.0.1",
             self.stack["ROLLCALL_POSTGRES_PORT"], folder], stdout=subprocess.PIPE)
        try:
            recorder.stdout.readline()
            self.run_projectors(1, template, events, recipients, "the recording",
                                {"ROLLCALL_POSTGRES_PORT": str(port)})
        finally:
            recorder.kill()
            recorder.wait()
        index = {blast.bytes: place for place, blast in enumerate(self.blasts)}
        recorded = tape.Tape(folder, lambda blast, number: workload.home(
            self.blasts, workload.recipient(index[blast], number), partitions))
        shutil.rmtree(folder)
        return recorded

    def run_sql(self, recorded, template, events, recipients):
        database = self.fresh_database(template)
        meters = []
        seconds = tape.replay(
            self.conninfo(database, "rollcall_projector"), recorded,
            lambda: meters.append(Meter(self.postgres, self.broker)), lambda: meters.append(meters[0].stop()))
        self.check(database, events, recipients, "the bare loop")
        return {"rate": events / seconds, "seconds": seconds, "events": events, "parts": meters[1][1], "memory": []}

    def run_peer(self, template, events):
        database = self.fresh_database(template)
        environment = self.environment(database) | {"PYTHONPATH": HERE, "PYTHONWARNINGS": "ignore"}
        with open(os.path.join(self.state, "log", "bench-peer.log"), "wb") as log, subprocess.Popen(
                [sys.executable, os.path.join(HERE, "peer.py"), str(events)], env=environment, cwd=self.state,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as peer:
            meter, result = None, None
            for line in peer.stdout:
                if line == "began\n":
                    meter = Meter(self.postgres, self.broker, peer=peer.pid)
                elif line.startswith("{"):
                    result, parts = json.loads(line), meter.stop()[1]
                    break
            peer.stdin.close()
        if result is None:
            raise SystemExit("bench: the peer ended early")
        with psycopg.connect(self.conninfo(database)) as connection:
            stored = connection.execute("SELECT count(*) FROM peer_status").fetchone()[0]
        if stored != events // 3:
            raise SystemExit(f"bench: the peer stored {stored} rows instead of {events // 3}")
        return {"rate": events / result["seconds"], "seconds": result["seconds"], "events": events, "parts": parts,
                "memory": []}

    # The table.

    def add(self, name, partitions, result):
        self.rows.append((name, partitions, result))
        say(f"{name}, {partitions} partition(s): {result['rate']:,.0f} events/s in {result['seconds']:.1f} s")

    def median(self, name, partitions):
        rates = [result["rate"] for row, parts, result in self.rows if (row, parts) == (name, partitions)]
        return statistics.median(rates) if rates else None

    def print_table(self):
        parts = ["postgres", "sql client", "broker", "librdkafka", "fetch", "decode", "fold", "encode", "publish",
                 "other"]
        print("\nprocessor time in core-microseconds per event, by part")
        print(f"{'':34}{'part.':>6}{'events/s':>10}{'s':>6}{'MiB':>5} |" + "".join(f"{part:>11}" for part in parts)
              + f"{'all':>8}")
        for name, partitions, result in self.rows:
            spent = [result["parts"].get(part, 0.0) / result["events"] * 1e6 for part in parts]
            memory = f"{max(result['memory']):.0f}" if result["memory"] else ""
            print(f"{name:34}{partitions:>6}{result['rate']:>10,.0f}{result['seconds']:>6.1f}{memory:>5} |"
                  + "".join(f"{value:>11.1f}" if value else f"{'':>11}" for value in spent)
                  + (f"{sum(spent):>8.1f}" if any(spent) else ""))

    def prepare(self, events, partitions):
        recipients = events // 3 // partitions * partitions
        say(f"{partitions} partition(s): filling {recipients:,} deliveries and {recipients * 3:,} events")
        self.restart_broker(partitions)
        template = self.make_template(recipients)
        events = workload.fill(self.bootstrap, self.blasts, recipients, partitions)
        return template, events, recipients

    def compare(self, partitions, events, pairs, processes=(), peer=False):
        template, events, recipients = self.prepare(events, partitions)
        say("recording what the projector says to the database")
        recorded = self.record_tape(template, events, recipients, partitions)
        say(f"{recorded.batch_count} batches, {events / recorded.batch_count:,.0f} events each")
        for _ in range(pairs):
            self.add("(a) projector", partitions, self.run_projectors(1, template, events, recipients, "(a)"))
            self.add("(b) its SQL from a bare loop", partitions, self.run_sql(recorded, template, events, recipients))
        for count in processes:
            self.add(f"(a) projector, {count} processes", partitions,
                     self.run_projectors(count, template, events, recipients, "(a)"))
        if peer:
            self.add("(c) QuixStreams, PostgreSQL sink", partitions, self.run_peer(template, events))
        self.administer("DROP DATABASE IF EXISTS run")
        return template

    def backlog(self, events):
        template, events, recipients = self.prepare(events, 1)
        result = self.run_projectors(1, template, events, recipients, "the backlog")
        self.add("(a) projector, backlog", 1, result)
        memory = result["memory"]
        self.print_table()
        print(f"\nresident memory over the backlog of {events:,} events: {memory[len(memory) // 20]:.0f} MiB after a"
              f" twentieth, {memory[len(memory) // 2]:.0f} at half, {memory[-1]:.0f} at the end,"
              f" {max(memory):.0f} at most")
        print(f"mib projector_rss_growth {max(memory) - memory[len(memory) // 20]:.0f}")

    def ratio(self, name, above, below):
        if above and below:
            print(f"ratio {name} {above / below:.2f}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", default=os.path.join(ROOT, ".build-release/release"), help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="an eighth of the events, one pair each, no 4 partitions")
    parser.add_argument("--events", type=int, default=1_200_000, help="events at one partition (default %(default)s)")
    parser.add_argument("--pairs", type=int, default=2, help="alternating pairs per comparison (default %(default)s)")
    parser.add_argument("--backlog", type=int, metavar="EVENTS", help="only: memory over one backlog of that size")
    parser.add_argument("--partitions", type=int, nargs="*", default=[1, 2, 4], help="which comparisons to run")
    return parser.parse_args()


def main():
    options = arguments()
    if options.quick:
        options.events, options.pairs, options.partitions = options.events // 8, 1, options.partitions[:2]
    bench = Bench(options)
    if options.backlog:
        bench.backlog(options.backlog)
        return
    print(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    template, delays = None, None
    for partitions in options.partitions:
        # Two partitions keep two cores busy: more events make the run as long.
        events = options.events if partitions == 1 else options.events * 8 // 5
        template = bench.compare(partitions, events, options.pairs if partitions < 4 else 1,
                                 processes=() if partitions == 1 else (2,), peer=partitions == 1)
        if partitions == 1:
            rate = bench.median("(a) projector", 1) / 2
            seconds = 5 if options.quick else 15
            say(f"delays at {rate:,.0f} events/s for {seconds} s")
            delays = latency.measure(bench, template, int(min(rate * seconds, events // 3)), rate)
            say("the loop of the research, on its own tables")
            bench.add("research loop, no fold", 1, research.run(
                bench.conninfo("postgres"), workload.BATCH, 50_000 if options.quick else 200_000))
    bench.print_table()
    if delays:
        print(f"\nevent to status topic at {delays['rate']:,.0f} events/s, half the sustained rate:"
              f" p50 {delays['p50']:.0f} ms, p99 {delays['p99']:.0f} ms")
    print()
    bench.ratio("sql_vs_research_loop", bench.median("(b) its SQL from a bare loop", 1),
                bench.median("research loop, no fold", 1))
    for partitions in options.partitions:
        bench.ratio(f"projector_vs_sql_{partitions}p", bench.median("(a) projector", partitions),
                    bench.median("(b) its SQL from a bare loop", partitions))
    bench.ratio("projector_vs_quixstreams", bench.median("(a) projector", 1),
                bench.median("(c) QuixStreams, PostgreSQL sink", 1))


STARTED = time.monotonic()
if __name__ == "__main__":
    main()
