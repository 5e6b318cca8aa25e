"""The peer: QuixStreams with its PostgreSQL sink, an upsert on the key. Says when the first row comes, prints rows and
seconds from there on, and stays until its standard input ends."""
import json
import os
import sys
import time

from quixstreams import Application
from quixstreams.sinks.community.postgresql import PostgreSQLSink

from workload import EVENTS

count = int(sys.argv[1])
application = Application(
    broker_address=os.environ["ROLLCALL_KAFKA_BOOTSTRAP"], consumer_group=f"peer-{os.getpid()}",
    auto_offset_reset="earliest", commit_interval=2.0, commit_every=5000, loglevel="WARNING",
    consumer_extra_config={"session.timeout.ms": 2000, "heartbeat.interval.ms": 500})
sink = PostgreSQLSink(
    host=os.environ["ROLLCALL_POSTGRES_HOST"], port=int(os.environ["ROLLCALL_POSTGRES_PORT"]),
    dbname=os.environ["ROLLCALL_POSTGRES_DATABASE"], user=os.environ["ROLLCALL_POSTGRES_ADMIN_USER"],
    password=os.environ["ROLLCALL_POSTGRES_ADMIN_PASSWORD"], table_name="peer_status", schema_auto_update=True,
    primary_key_columns=["delivery_id"], upsert_on_primary_key=True)
began = []


def row(value, key, timestamp, headers):
    if not began:
        began.append(time.monotonic())
        print("began", flush=True)
    return {"delivery_id": key.decode() if isinstance(key, bytes) else key, "fact": value["fact"],
            "district": value["district"], "evidence": value["evidence"], "changed_at": timestamp}


topic = application.topic(EVENTS, value_deserializer="json")
application.dataframe(topic).apply(row, metadata=True).sink(sink)
application.run(count=count, timeout=120)
print(json.dumps({"rows": count, "seconds": time.monotonic() - began[0]}), flush=True)
sys.stdin.read()
