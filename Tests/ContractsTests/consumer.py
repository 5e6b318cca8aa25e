"""Keeps a copy of every delivery's status in SQLite. Any number of processes of one group may share a copy.

    consumer.py follow COPY GROUP BOOTSTRAP_SERVERS [NAME=VALUE …]    runs until it is stopped; NAME=VALUE: librdkafka
    consumer.py load COPY < SNAPSHOT                                  begins with what `rollcall snapshot` wrote
    consumer.py rewind COPY                                           the next start reads the topics from the beginning
    consumer.py print COPY                                            one line per delivery: id, facts, version, seq
"""
import json
import signal
import sqlite3
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException

# What the client mends by itself; everything else would go on for ever and look healthy.
PASSING = (
    KafkaError._PARTITION_EOF,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._MAX_POLL_EXCEEDED,
)

STATUS = "rollcall.delivery.status.v1"
PROGRESS = "rollcall.blast.progress.v1"

# The positions stand beside the data and are written with it: what is before a position has been stored, whatever
# died. They belong to one cluster.
TABLES = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS delivery (
        id TEXT PRIMARY KEY, blast TEXT, incarnation INT, version INT, seq INT, facts INT, record TEXT);
    CREATE INDEX IF NOT EXISTS delivery_by_blast ON delivery (blast);
    CREATE TABLE IF NOT EXISTS expired (blast TEXT PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS position (
        cluster TEXT, topic TEXT, part INT, next_offset INT, PRIMARY KEY (cluster, topic, part));
"""

# A record replaces what is known only if it is newer: records may come twice and, after a fault, late.
STORE = """
    INSERT INTO delivery SELECT :id, :blast, :incarnation, :version, :seq, :facts, :record
     WHERE NOT EXISTS (SELECT 1 FROM expired WHERE blast = :blast)
    ON CONFLICT (id) DO UPDATE SET
        incarnation = excluded.incarnation, version = excluded.version, seq = excluded.seq,
        facts = excluded.facts, record = excluded.record
     WHERE (excluded.incarnation, excluded.version, excluded.seq) > (incarnation, version, seq)
"""
MOVE = """
    INSERT INTO position VALUES (?, ?, ?, ?)
    ON CONFLICT (cluster, topic, part) DO UPDATE SET next_offset = excluded.next_offset
"""


def open_copy(path):
    copy = sqlite3.connect(path, timeout=60)
    copy.executescript(TABLES)
    return copy


def store_status(copy, octets):
    value = json.loads(octets)
    row = {name: value[name] for name in ("incarnation", "version", "seq", "facts")}
    row |= {"blast": value["blast_id"], "id": f"{value['blast_id']}/{value['recipient_no']}"}
    copy.execute(STORE, row | {"record": octets.decode()})


def forget_blast(copy, octets):
    blast = json.loads(octets)["blast_id"]
    copy.execute("INSERT INTO expired VALUES (?) ON CONFLICT DO NOTHING", (blast,))
    copy.execute("DELETE FROM delivery WHERE blast = ?", (blast,))


# Types that are not here are somebody else's, or of a later version.
HANDLERS = {b"rollcall.delivery.status.v1": store_status, b"rollcall.blast.expired.v1": forget_blast}


class Follower:
    def __init__(self, copy, group, servers, more):
        self.copy = copy
        self.cluster = None
        self.consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                **more,
            }
        )
        self.consumer.subscribe([STATUS, PROGRESS], on_assign=self.take)

    def take(self, consumer, partitions):
        cluster = consumer.list_topics(STATUS, timeout=30).cluster_id
        if self.cluster not in (None, cluster):
            raise RuntimeError("the broker is another cluster than before: start again")
        self.cluster = cluster
        for partition in partitions:
            found = self.copy.execute(
                "SELECT next_offset FROM position WHERE cluster = ? AND topic = ? AND part = ?",
                (cluster, partition.topic, partition.partition),
            ).fetchone()
            partition.offset = found[0] if found else OFFSET_BEGINNING
        consumer.assign(partitions)

    def turn(self):
        messages = self.consumer.consume(500, timeout=1.0)
        for message in messages:
            if message.error() and message.error().code() not in PASSING:
                raise KafkaException(message.error())
        messages = [message for message in messages if not message.error()]
        with self.copy:  # one transaction: the records and how far they go
            for message in messages:
                handler = HANDLERS.get(dict(message.headers() or []).get("ce_type"))
                if handler and message.value() is not None:
                    handler(self.copy, message.value())
                self.copy.execute(MOVE, (self.cluster, message.topic(), message.partition(), message.offset() + 1))


def follow(copy, group, servers, more):
    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))
    follower = Follower(copy, group, servers, more)
    while not stopping:
        follower.turn()
    follower.consumer.close()


def load(copy, lines):
    header = json.loads(next(lines))
    count = 0
    with copy:  # all of it or nothing
        for line in lines:
            value = json.loads(line)
            if value.get("type") == "rollcall.delivery.snapshot.end.v1" and value["records"] == count:
                break
            store_status(copy, line.rstrip("\n").encode())
            count += 1
        else:
            raise ValueError("the snapshot is cut short")
        for part, offset in header["offsets"].items():
            copy.execute(MOVE, (header["cluster_id"], STATUS, int(part), offset))
    print(count, "deliveries loaded")


def main():
    words = sys.argv[1:]
    if len(words) >= 4 and words[0] == "follow":
        follow(open_copy(words[1]), words[2], words[3], dict(setting.split("=", 1) for setting in words[4:]))
    elif len(words) == 2 and words[0] == "load":
        load(open_copy(words[1]), sys.stdin)
    elif len(words) == 2 and words[0] == "rewind":
        with open_copy(words[1]) as copy:
            copy.execute("DELETE FROM position")
    elif len(words) == 2 and words[0] == "print":
        for row in open_copy(words[1]).execute("SELECT id, facts, version, seq FROM delivery ORDER BY id"):
            print(*row)
    else:
        sys.exit(__doc__)


main()
