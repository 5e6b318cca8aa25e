"""A stack's databases and one sender on it."""
import hashlib
import os
import re
import secrets
import subprocess
import time
import urllib.request

import psycopg

import material
from processes import Projector as Service
from processes import free_port, resident_mib, thread_seconds, tree_seconds

PASSWORD = "password-of-a-benchmark"


class Sender(Service):
    """The service with its public API."""

    def __init__(self, program, environment, log, key):
        port = free_port()
        super().__init__(program, environment | {"ROLLCALL_SENDER_LISTEN": f"127.0.0.1:{port}"}, log)
        self.intake = material.Intake(port, key)

    def wait_until_ready(self):
        deadline = time.monotonic() + 60
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: the sender is not ready: {self.last_words()}")
            time.sleep(0.1)

    def is_ready(self):
        if not self.metrics():
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def peak_mib(self):
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.search(r"^VmHWM:\s+(\d+) kB", file.read(), re.M)[1]) / 1024


class Rig:
    def __init__(self, programs):
        self.programs, self.state, self.runs = programs, os.environ["ROLLCALL_STATE"], 0
        with open(os.path.join(self.state, "stack.env")) as file:
            self.stack = dict(line.rstrip("\n").split("=", 1) for line in file)
        self.postgres, self.broker = (
            int(open(os.path.join(self.state, "run", f"{name}.pid")).read().split()[0]) for name in ("postgres", "broker"))

    def conninfo(self, database):
        return (f"host=127.0.0.1 port={self.stack['ROLLCALL_POSTGRES_PORT']} dbname={database}"
                f" user={self.stack['ROLLCALL_POSTGRES_ADMIN_USER']}"
                f" password={self.stack['ROLLCALL_POSTGRES_ADMIN_PASSWORD']}")

    def connect(self, database="run", autocommit=True):
        return psycopg.connect(
            self.conninfo(database), autocommit=autocommit, options="-c search_path=rollcall")

    def environment(self, database):
        keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return keep | self.stack | {
            "ROLLCALL_POSTGRES_DATABASE": database, "ROLLCALL_POSTGRES_PASSWORD": PASSWORD, "ROLLCALL_LOG_LEVEL": "info",
            "ROLLCALL_KAFKA_CLIENT_OVERRIDES": "session.timeout.ms=2000,heartbeat.interval.ms=500"}

    def administer(self, *statements, database="postgres"):
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement)

    def tool(self, *arguments):
        done = subprocess.run([os.path.join(self.programs, "rollcall"), *arguments],
                              env=self.environment("template"), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"bench: rollcall {arguments[0]} ended with {done.returncode}: {done.stderr}")

    def make_template(self):
        """Migrated, with a district, its key, and a guard that is always up to date and that nobody waits for."""
        self.administer("DROP DATABASE IF EXISTS template", "CREATE DATABASE template")
        self.tool("migrate", "--service-password-from-env")
        self.tool("topics", "apply")
        number, secret = secrets.token_hex(8), secrets.token_hex(32)
        self.key = f"rck_{number}_{secret}"
        with self.connect("template") as connection:
            connection.execute("INSERT INTO district (district_id, name) VALUES (1, 'Benchville')")
            connection.execute("INSERT INTO api_key (key_id, district_id, secret_sha256, scopes, label)"
                               " VALUES (%s, 1, %s, '{send}', 'bench')",
                               (number, hashlib.sha256(secret.encode()).digest()))
            connection.execute("INSERT INTO guard_progress (part, cluster_id, next_offset, caught_up_at)"
                               " SELECT p, 'bench', 0, now() + interval '1 day' FROM generate_series(0, 3) p")

    def fresh_database(self, durable=True):
        """`durable` false: what dispatch commits may be lost with the database's machine. Only a benchmark does that."""
        self.administer("DROP DATABASE IF EXISTS run WITH (FORCE)",
                        "CREATE DATABASE run TEMPLATE template STRATEGY file_copy")
        if not durable:
            self.administer("ALTER ROLE rollcall_dispatch IN DATABASE run SET synchronous_commit = off")
        self.administer("CHECKPOINT")
        return "run"

    def start_sender(self, database, sink_port, sessions):
        self.runs += 1
        sender = Sender(
            os.path.join(self.programs, "sender"), self.environment(database) | {
                "ROLLCALL_TOKENS_KEYS": "1:" + "5a" * 32, "ROLLCALL_SMTP_HOST": "127.0.0.1",
                "ROLLCALL_SMTP_PORT": str(sink_port), "ROLLCALL_SMTP_CONNECTIONS": str(sessions),
                "ROLLCALL_PUBLIC_URL": "https://links.district.example"},
            os.path.join(self.state, "log", f"bench-sender-{self.runs}.log"), self.key)
        try:
            sender.wait_until_ready()
        except BaseException:
            sender.stop()
            raise
        return sender

    def clear(self, blast, at_once_before=lambda: None):
        """Clears the blast's chunks as the guard would, which clears what it was asked for."""
        with self.connect() as connection:
            while connection.execute("SELECT 1 FROM chunk WHERE blast_id = %s AND requested_reported_at IS NULL LIMIT 1",
                                     (blast,)).fetchone():
                time.sleep(0.02)
            at_once_before()
            connection.execute("UPDATE chunk SET state = 'cleared', cleared_at = now() WHERE blast_id = %s", (blast,))

    def emergency(self, sender, recipients):
        """Seconds from the order of an emergency, amid whatever else is sent, until everybody's was handed over."""
        blast = sender.intake.make_draft("emergency", 1000, **{"class": "emergency"})
        sender.intake.upload(blast, recipients)
        begun = time.monotonic()
        audience = sender.intake.order(blast)["audience"]
        self.clear(blast)
        with self.connect() as connection:
            while connection.execute("SELECT count(*) FROM attempt WHERE blast_id = %s AND state = 'accepted'",
                                     (blast,)).fetchone()[0] < audience:
                if time.monotonic() - begun > 120:
                    raise SystemExit("bench: the emergency has not been handed over within two minutes")
                time.sleep(0.05)
        return time.monotonic() - begun

    def hand_over(self, sender, blast, messages, sink, most_seconds=None, midway=None):
        """Clears the blast's chunks and watches until all is done or the time is up; `midway` is done at half of it."""
        started = []
        self.clear(blast, lambda: started.extend((self.spent(sender, sink), time.monotonic())))
        before, begun = started
        last, patience, memory = 0, begun + 60, 0.0
        while True:
            values = sender.metrics()
            outcomes = {name: value for name, value in values.items() if name.startswith(
                "rollcall_sender_messages_total")}
            accepted = outcomes.get('rollcall_sender_messages_total{outcome="accepted"}', 0)
            published = values.get("rollcall_sender_facts_reported_total", 0)
            if sum(outcomes.values()) > accepted:
                raise SystemExit(f"bench: not every message was accepted: {outcomes}")
            memory, now = max(memory, resident_mib(sender.pid)), time.monotonic()
            if midway and now - begun > most_seconds / 2:
                midway()
                midway = None
            is_over = most_seconds is not None and now - begun > most_seconds
            if published >= messages or is_over:
                seconds, after = now - begun, self.spent(sender, sink)
                return {"rate": accepted / seconds, "seconds": seconds, "messages": accepted, "memory": memory,
                        "parts": {name: value - before.get(name, 0.0) for name, value in after.items()}}
            if published > last:
                last, patience = published, now + 60
            if now > patience:
                raise SystemExit(f"bench: the sender stands still at {accepted:.0f} accepted and {published:.0f}"
                                 f" published of {messages}: {sender.last_words()}")
            time.sleep(0.1)

    def spent(self, sender, sink):
        """Processor seconds so far, by part."""
        parts = {"postgres": tree_seconds(self.postgres), "broker": tree_seconds(self.broker),
                 "sink": tree_seconds(sink.pid)}
        staged = 0.0
        for name, value in sender.metrics().items():
            if match := re.fullmatch(r'rollcall_sender_cpu_microseconds_total\{stage="(\w+)"\}', name):
                parts[match[1]] = value / 1e6
                staged += value / 1e6
        for name, seconds in thread_seconds(sender.pid).items():
            if name.startswith("rdk:") or name.startswith("kafka-"):
                part = "librdkafka"
            elif name.startswith("postgres-"):
                part = "sql client"
            elif name.startswith("NIO-"):
                part = "smtp"
            else:
                part = "other"
            parts[part] = parts.get(part, 0.0) + seconds
        parts["other"] = parts.get("other", 0.0) - staged
        return parts

    def check(self, blast, messages):
        """A fast wrong answer is worth nothing: one accepted and reported attempt per recipient, and its claim."""
        with self.connect() as connection:
            attempts = connection.execute(
                "SELECT count(*), count(DISTINCT recipient_no), count(*) FILTER (WHERE state = 'accepted' AND fact = 20"
                " AND reported_at IS NOT NULL) FROM attempt WHERE blast_id = %s", (blast,)).fetchone()
            claims = connection.execute(
                "SELECT count(*) FROM content_claim WHERE blast_id = %s", (blast,)).fetchone()[0]
        if (*attempts, claims) != (messages,) * 4:
            raise SystemExit(f"bench: a run ended wrong: {attempts} attempts and {claims} claims for {messages}")
