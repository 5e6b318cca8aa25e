"""From an event on its topic to its status on the public one, at a steady rate."""
import os
import threading
import time

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

import workload
from processes import Projector


def send(bootstrap, blasts, recipients, rate, sent):
    """One event per delivery, spread evenly over the time."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, "enable.idempotence": True})
    began = time.monotonic()
    for recipient in range(recipients):
        key, value, headers = workload.record(blasts, recipient, 0)
        ahead = began + recipient / rate - time.monotonic()
        if ahead > 0.001:
            producer.poll(0)
            time.sleep(ahead)
        sent[key] = time.monotonic()
        producer.produce(workload.EVENTS, value, key, 0, headers=headers)
    producer.flush()


def wait_until_assigned(bench, database):
    deadline = time.monotonic() + 60
    with psycopg.connect(bench.conninfo(database), autocommit=True) as connection:
        while not connection.execute("SELECT count(*) FROM rollcall.projector_partition").fetchone()[0]:
            if time.monotonic() > deadline:
                raise SystemExit("bench: the projector was given no partition")
            time.sleep(0.1)


def measure(bench, template, recipients, rate):
    """Sends one event for each of so many deliveries; the delay ends where a consumer receives the status."""
    bench.restart_broker(1)
    database = bench.fresh_database(template)
    projector = Projector(bench.program, bench.environment(database),
                          os.path.join(bench.state, "log", "bench-latency.log"))
    consumer = Consumer({"bootstrap.servers": bench.bootstrap, "group.id": "bench-latency", "fetch.wait.max.ms": 5,
                         "enable.auto.commit": False})
    consumer.assign([TopicPartition(workload.STATUS, part, 0) for part in range(4)])
    sent, delays = {}, []
    try:
        wait_until_assigned(bench, database)
        sender = threading.Thread(target=send, args=(bench.bootstrap, bench.blasts, recipients, rate, sent))
        sender.start()
        deadline = time.monotonic() + recipients / rate + 60
        while len(delays) < recipients:
            for message in consumer.consume(1000, 0.02):
                if message.error() is None:
                    delays.append(time.monotonic() - sent[message.key().decode()])
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: only {len(delays)} of {recipients} statuses were published in time")
        sender.join()
    finally:
        consumer.close()
        projector.stop()
    # The first second is the projector's start.
    delays = sorted(delays[min(int(rate), len(delays) // 2):])
    return {"rate": rate, "p50": delays[len(delays) // 2] * 1000, "p99": delays[len(delays) * 99 // 100] * 1000}
