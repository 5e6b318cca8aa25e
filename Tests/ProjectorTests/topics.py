"""What tests do to topics that no service may do.

    topics.py BOOTSTRAP recreate TOPIC PARTITIONS
    topics.py BOOTSTRAP put TOPIC           records from standard input, one JSON array a line: partition or null, key,
                                            value, headers as [name, value] pairs, time in ms or null; octets in base64
    topics.py BOOTSTRAP backlog TOPIC BLAST RECIPIENTS ROUNDS   each recipient's first ROUNDS facts, one event each
"""
import base64
import json
import sys
import time

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

FACTS = (
    "validating deferred sent delayed delivered opened clicked acknowledged responded machine_open machine_click"
).split()


def recreate(servers, topic, partitions):
    admin = AdminClient({"bootstrap.servers": servers})
    admin.delete_topics([topic])[topic].result(20)
    deadline = time.monotonic() + 20
    while True:
        try:
            return admin.create_topics([NewTopic(topic, int(partitions), 1)])[topic].result(20)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def send(servers, messages):
    faults = []
    producer = Producer(
        {"bootstrap.servers": servers, "partitioner": "murmur2_random", "linger.ms": 20, "enable.idempotence": True}
    )
    for message in messages:
        while True:
            try:
                producer.produce(on_delivery=lambda error, _: faults.append(error) if error else None, **message)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(60)
    if left or faults:
        sys.exit(f"{left} records were not acknowledged, {len(faults)} refused: {faults[:1]}")


def given(topic):
    for line in sys.stdin:
        partition, key, value, headers, milliseconds = json.loads(line)
        message = {
            "topic": topic,
            "key": key and base64.b64decode(key),
            "value": value and base64.b64decode(value),
            "headers": [(name, base64.b64decode(octets)) for name, octets in headers],
        }
        if partition is not None:
            message["partition"] = partition
        if milliseconds is not None:
            message["timestamp"] = milliseconds
        yield message


def backlog(topic, blast, recipients, rounds):
    for round_number, fact in enumerate(FACTS[: int(rounds)]):
        value = json.dumps({"district": 1, "fact": fact, "evidence": "250 2.0.0 Ok: queued as 4XyZ " * 8}).encode()
        for number in range(1, int(recipients) + 1):
            subject = f"{blast}/{number}"
            headers = [
                ("ce_specversion", "1.0"), ("ce_id", f"{fact}/{number}"), ("ce_source", "/test"),
                ("ce_type", "rollcall.delivery.observed.v1"), ("ce_time", f"2026-11-20T08:00:{round_number:02d}Z"),
                ("ce_subject", subject),
            ]
            yield {"topic": topic, "key": subject.encode(), "value": value, "headers": headers}


def main():
    servers, command, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
    if command == "recreate":
        recreate(servers, *rest)
    elif command == "put":
        send(servers, given(*rest))
    elif command == "backlog":
        send(servers, backlog(*rest))
    else:
        sys.exit(__doc__)


main()
