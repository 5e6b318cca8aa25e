"""What every contender works on: blasts with pending recipients, and the events about them.

Of five batches' worth of events four have one event per delivery and the fifth has all three of each of its deliveries,
so that folding several events of one delivery is part of the work.
"""
import json
import random
import struct
import uuid

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

EVENTS = "rollcall.delivery.events.v1"
STATUS = "rollcall.delivery.status.v1"
PUBLISHED = [STATUS, "rollcall.blast.progress.v1", "rollcall.dead-letters.v1"]
BATCH = 2000
BLASTS = 20
DAYS = 10
USUAL = [(20, "sent"), (30, "delivered"), (34, "opened")]
TROUBLED = [(4, "deferred"), (20, "sent"), (26, "bounced")]
EVIDENCE = ("250 2.0.0 OK: queued as 4F1c2d9Q0z; remote mx-%03d.mail.example said: Message accepted for delivery, "
            "thank you; tls TLS_AES_256_GCM_SHA384; response time %03d ms; ").ljust(300, "x")


def facts_of(number):
    return TROUBLED if number % 50 == 0 else USUAL


def final_facts(number):
    return 1 | sum(1 << bit for bit, _ in facts_of(number))


def blast_ids(day_start_ms):
    """Ids of version 7 spread over the daily partitions."""
    shuffle = random.Random(7)
    ids = []
    for index in range(BLASTS):
        at = day_start_ms + (index % DAYS) * 86_400_000 + 3_600_000 + index
        noise = shuffle.getrandbits(74)
        ids.append(uuid.UUID(int=at << 80 | 7 << 76 | (noise >> 62) << 64 | 2 << 62 | noise & (1 << 62) - 1))
    return sorted(ids)


def murmur2(octets):
    """Kafka's, made positive."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(octets)
    whole = len(octets) // 4 * 4
    for (k,) in struct.iter_unpack("<I", octets[:whole]):
        k = k * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if whole < len(octets):
        h = (h ^ int.from_bytes(octets[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


def home(blasts, recipient, partitions):
    """The partition of a recipient's events."""
    if partitions == 1:
        return 0
    blast, number = place(recipient)
    return murmur2(f"{blasts[blast]}/{number}".encode()) % partitions


def order_of_events(blasts, recipients, partitions, part):
    """Pairs (recipient, which of its three events), in the order of one partition. Recipients count from 0."""
    shuffle = random.Random(part)
    mine = [recipient for recipient in range(recipients) if home(blasts, recipient, partitions) == part]
    shuffle.shuffle(mine)
    together, apart = mine[: len(mine) // 5], mine[len(mine) // 5:]
    single = []
    for step in range(3):
        shuffle.shuffle(apart)
        single += [(recipient, step) for recipient in apart]
    bursts = []
    for start in range(0, len(together), BATCH // 3):
        burst = [(recipient, step) for recipient in together[start: start + BATCH // 3] for step in range(3)]
        shuffle.shuffle(burst)
        bursts.append(burst)
    events, at = [], 0
    for burst in bursts:
        events += single[at: at + 4 * BATCH] + burst
        at += 4 * BATCH
    return events + single[at:]


def place(recipient):
    """A recipient's blast, by index, and number in it."""
    return recipient % BLASTS, recipient // BLASTS + 1


def recipient(blast, number):
    return (number - 1) * BLASTS + blast


def record(blasts, recipient, step):
    blast, number = place(recipient)
    key = f"{blasts[blast]}/{number}"
    _, fact = facts_of(number)[step]
    at = f"2026-11-21T{10 + step:02}:{recipient % 60:02}:{recipient // 60 % 60:02}.{recipient % 1000000:06}Z"
    body = {"district": 1, "evidence": EVIDENCE % (recipient % 1000, step), "fact": fact}
    if fact in ("sent", "deferred"):
        body["attempt"] = {"at": at, "number": 1 + step}
    headers = [("ce_specversion", b"1.0"), ("ce_id", f"bench/{recipient}/{step}".encode()),
               ("ce_source", b"/rollcall/sender"), ("ce_type", b"rollcall.delivery.observed.v1"),
               ("ce_time", at.encode()), ("ce_subject", key.encode()), ("content-type", b"application/json")]
    return key, json.dumps(body, sort_keys=True, separators=(",", ":")), headers


def make_topics(bootstrap, partitions):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [NewTopic(EVENTS, partitions, 1)] + [NewTopic(name, 4, 1) for name in PUBLISHED]
    for made in admin.create_topics(topics).values():
        try:
            made.result()
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise


def fill(bootstrap, blasts, recipients, partitions):
    """Puts all events on their topic; returns how many."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 200_000,
                         "enable.idempotence": True})
    failures = []

    def delivered(error, _):
        if error is not None:
            failures.append(str(error))

    count = 0
    for part in range(partitions):
        for recipient, step in order_of_events(blasts, recipients, partitions, part):
            key, value, headers = record(blasts, recipient, step)
            while True:
                try:
                    producer.produce(EVENTS, value, key, part, headers=headers, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.05)
            count += 1
            if count % 500 == 0:
                producer.poll(0)
    producer.flush()
    if failures:
        raise SystemExit(f"bench: {len(failures)} events were not stored: {failures[0]}")
    return count
