"""Keeps a copy of every delivery's status in SQLite.

    consumer.py follow COPY GROUP BOOTSTRAP_SERVERS [NAME=VALUE …]    runs until it is stopped; NAME=VALUE: librdkafka
    consumer.py print COPY                                            one line per delivery: id, facts, version
"""
import json
import signal
import sqlite3
import sys

from confluent_kafka import Consumer, KafkaException

TOPIC = "rollcall.delivery.status.v1"
TYPE = ("ce_type", b"rollcall.delivery.status.v1")

# A record replaces what is known only if it is newer: records may come twice and, after a fault, late.
STORE = """
    INSERT INTO delivery (id, incarnation, version, seq, facts, record) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        incarnation = excluded.incarnation, version = excluded.version, seq = excluded.seq,
        facts = excluded.facts, record = excluded.record
    WHERE (excluded.incarnation, excluded.version, excluded.seq) > (incarnation, version, seq)
"""


def open_copy(path):
    copy = sqlite3.connect(path, timeout=30)
    copy.execute("PRAGMA journal_mode = WAL")
    copy.execute(
        "CREATE TABLE IF NOT EXISTS delivery (id TEXT PRIMARY KEY, incarnation INT, version INT, seq INT,"
        " facts INT, record TEXT)"
    )
    return copy


def row(message):
    value = json.loads(message.value())
    return (
        f"{value['blast_id']}/{value['recipient_no']}",
        value["incarnation"],
        value["version"],
        value["seq"],
        value["facts"],
        message.value().decode(),
    )


def follow(copy, group, servers, more):
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **more,
        }
    )
    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))
    consumer.subscribe([TOPIC])
    while not stopping:
        messages = consumer.consume(500, timeout=1.0)
        for message in messages:
            if message.error() and message.error().fatal():
                raise KafkaException(message.error())
        # Other types may appear on the topic one day, and a tombstone carries no state.
        records = [m for m in messages if not m.error() and m.value() and TYPE in (m.headers() or [])]
        if not records:
            continue
        with copy:
            copy.executemany(STORE, [row(message) for message in records])
        # Only now: what is committed here is stored. Dying in between repeats records, and the rule ignores them.
        try:
            consumer.commit(asynchronous=False)
        except KafkaException as error:
            # The next commit says the same again; after a rebalance the partitions' new owner reads again.
            print("not committed:", error, file=sys.stderr)
    consumer.close()


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "print":
        query = "SELECT id, facts, version FROM delivery ORDER BY id"
        for delivery, facts, version in open_copy(sys.argv[2]).execute(query):
            print(delivery, facts, version)
    elif len(sys.argv) >= 5 and sys.argv[1] == "follow":
        more = dict(setting.split("=", 1) for setting in sys.argv[5:])
        follow(open_copy(sys.argv[2]), sys.argv[3], sys.argv[4], more)
    else:
        sys.exit(__doc__)


main()
