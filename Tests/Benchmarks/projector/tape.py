"""Records what the projector says to PostgreSQL, and says it again from a loop with nothing else to do.

The limit the projector is measured against is therefore its own SQL, with its own parameters: they cannot drift apart.
`tape.py record PORT HOST PORT FOLDER` forwards connections and keeps what the client sent.
"""
import multiprocessing
import os
import socket
import struct
import sys
import threading
import time

import psycopg
from psycopg import pq


def record(port, host, target, folder):
    listener = socket.create_server(("127.0.0.1", port))
    print("recording", flush=True)
    number = 0
    while True:
        client, _ = listener.accept()
        server = socket.create_connection((host, target))
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tape = open(os.path.join(folder, f"{number}.tape"), "wb")
        threading.Thread(target=forward, args=(client, server, tape), daemon=True).start()
        threading.Thread(target=forward, args=(server, client, None), daemon=True).start()
        number += 1


def forward(source, target, tape):
    try:
        while data := source.recv(1 << 18):
            if tape is not None:
                tape.write(struct.pack("!qi", time.monotonic_ns(), len(data)) + data)
                tape.flush()
            target.sendall(data)
    except OSError:
        pass
    for each in (source, target):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
    if tape is not None:
        tape.close()


def messages(path):
    """The typed messages of one connection: (when it was sent, type, payload)."""
    with open(path, "rb") as file:
        recorded = file.read()
    parts, ends, at = [], [], 0
    while at + 12 <= len(recorded):
        when, length = struct.unpack_from("!qi", recorded, at)
        parts.append(recorded[at + 12: at + 12 + length])
        ends.append(((ends[-1][0] if ends else 0) + length, when))
        at += 12 + length
    data, chunk, at = b"".join(parts), 0, 0
    del recorded, parts  # a long run's tape is large
    while at + 8 <= len(data):
        length, code = struct.unpack_from("!ii", data, at)
        at += length
        if code not in (80877103, 80877104):  # requests for TLS or GSSAPI stand before the start-up message
            break
    while at + 5 <= len(data):
        (length,) = struct.unpack_from("!i", data, at + 1)
        if at + 1 + length > len(data):
            return
        while ends[chunk][0] <= at:
            chunk += 1
        yield ends[chunk][1], data[at: at + 1], data[at + 5: at + 1 + length]
        at += 1 + length


def session(path):
    """What one connection set at its start, as libpq's `options`."""
    with open(path, "rb") as file:
        begin = file.read(4096)
    found = begin.find(b"\0options\0")
    return text(begin, found + len(b"\0options\0"))[0].decode() if found >= 0 else ""


def text(payload, at):
    end = payload.index(b"\0", at)
    return payload[at:end], end + 1


def transactions(path):
    """What one connection did, transaction by transaction: (when it began, its statements). A statement is (sql, types,
    values, form of the result); one outside any transaction is its own."""
    known, current = {}, None
    for when, kind, payload in messages(path):
        if kind == b"P":
            name, at = text(payload, 0)
            sql, at = text(payload, at)
            (count,) = struct.unpack_from("!h", payload, at)
            known[name] = sql, struct.unpack_from(f"!{count}I", payload, at + 2)
        elif kind == b"Q":
            sql = text(payload, 0)[0]
            if sql == b"BEGIN":
                current = when, []
            elif sql in (b"COMMIT", b"ROLLBACK"):
                if current and current[1] and sql == b"COMMIT":
                    yield current
                current = None
        elif kind == b"B":
            statement = bound(payload, known)
            if current:
                current[1].append(statement)
            else:
                yield when, [statement]


def bound(payload, known):
    name, at = text(payload, text(payload, 0)[1])
    (formats,) = struct.unpack_from("!h", payload, at)
    at += 2 + 2 * formats
    (count,) = struct.unpack_from("!h", payload, at)
    at += 2
    values = []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", payload, at)
        at += 4
        values.append(None if length < 0 else payload[at: at + length])
        at += max(0, length)
    (formats,) = struct.unpack_from("!h", payload, at)
    return *known[name], values, struct.unpack_from("!h", payload, at + 2)[0] if formats else 0


def first_delivery(blasts, numbers):
    """Of a uuid[] and an int[] in binary form."""
    return blasts[24:40], int.from_bytes(numbers[24:28], "big")


def written(statements):
    """The deliveries of a batch. None is read for the batch after it: their states are known from this one. So a
    reading is the batch's own where it names one of them, and a batch may have none."""
    blasts, numbers = next(values[2:4] for sql, _, values, _ in statements if b"INTO delivery_log" in sql)
    return {(blasts[at * 20 + 24: at * 20 + 40], int.from_bytes(numbers[at * 8 + 24: at * 8 + 28], "big"))
            for at in range((len(numbers) - 20) // 8)}


class Tape:
    """What one run committed: first the taking of partitions, then the batches of each partition in order, each with the
    reading of states that was done for it, if any.

    `part_of` tells the partition of a delivery: a reading does not name it."""

    def __init__(self, folder, part_of):
        self.taking, self.batches, self.options, readings = [], {}, "", {}
        for name in sorted(os.listdir(folder)):
            for when, statements in transactions(os.path.join(folder, name)):
                first = statements[0]
                if any(b"INTO delivery_log" in sql for sql, *_ in statements):
                    part, offset = (int.from_bytes(first[2][index], "big") for index in (2, 4))
                    self.batches.setdefault(part, []).append((offset, statements))
                    self.options = session(os.path.join(folder, name))
                elif b"INTO projector_partition" in first[0]:
                    self.taking.append(statements)
                elif b"JOIN delivery_status" in first[0] and b"unnest" in first[0]:
                    readings.setdefault(part_of(*first_delivery(*first[2])), []).append((when, first))
        for part, batches in self.batches.items():
            batches.sort(key=lambda batch: batch[0])
            reads = [read for _, read in sorted(readings.get(part, []), key=lambda reading: reading[0])]
            self.batches[part] = [
                ([reads.pop(0)] if reads and first_delivery(*reads[0][2]) in written(statements) else [], statements)
                for _, statements in batches]
            if reads:
                raise SystemExit(f"bench: {len(reads)} readings of states of partition {part} belong to no batch")

    @property
    def batch_count(self):
        return sum(len(batches) for batches in self.batches.values())


class Loop:
    """A connection that only sends prepared statements whose parameters lie ready."""

    def __init__(self, conninfo, options):
        """`options`: what the session sets, as the projector's does."""
        escaped = options.replace("\\", "\\\\").replace("'", "\\'")
        self.raw = pq.PGconn.connect(f"{conninfo} options='{escaped}'".encode())
        if self.raw.status != pq.ConnStatus.OK:
            raise SystemExit("bench: " + self.raw.error_message.decode())
        self.names = {}

    def checked(self, result):
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            raise SystemExit("bench: " + result.error_message.decode())
        return result

    def prepare(self, transaction):
        for sql, types, *_ in transaction:
            if (sql, types) not in self.names:
                name = b"s%d" % len(self.names)
                self.checked(self.raw.prepare(name, sql, types))
                self.names[sql, types] = name

    def bound(self, transaction):
        self.prepare(transaction)
        return [(self.names[sql, types], values, [1] * len(values), results)
                for sql, types, values, results in transaction]

    def run(self, statements, before=()):
        for name, values, formats, results in before:
            self.checked(self.raw.exec_prepared(name, values, formats, results))
        self.checked(self.raw.exec_(b"BEGIN"))
        for name, values, formats, results in statements:
            self.checked(self.raw.exec_prepared(name, values, formats, results))
        self.checked(self.raw.exec_(b"COMMIT"))


def replay_partition(conninfo, options, batches, start, end, answers):
    loop = Loop(conninfo, options)
    ready = [(loop.bound(statements), loop.bound(reading)) for reading, statements in batches]
    start.wait()
    began = time.monotonic()
    for statements, reading in ready:
        loop.run(statements, reading)
    answers.put((began, time.monotonic()))
    end.wait()


def replay(conninfo, tape, on_start=lambda: None, on_end=lambda: None):
    """Runs every batch, one connection per partition; returns the seconds from the first start to the last end."""
    taking = Loop(conninfo, tape.options)
    for transaction in tape.taking:
        taking.run(taking.bound(transaction))
    taking.raw.finish()
    context = multiprocessing.get_context("fork")
    start, end = (context.Barrier(len(tape.batches) + 1) for _ in range(2))
    answers = context.Queue()
    processes = [context.Process(target=replay_partition, args=(conninfo, tape.options, batches, start, end, answers))
                 for batches in tape.batches.values()]
    for process in processes:
        process.start()
    start.wait()
    on_start()
    times = [answers.get(timeout=600) for _ in processes]
    on_end()
    end.wait()
    for process in processes:
        process.join()
    return max(end for _, end in times) - min(began for began, _ in times)


if __name__ == "__main__":
    record(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
