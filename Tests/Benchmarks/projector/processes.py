"""The processes of a run: starting them, their processor time by part, their memory, their metrics."""
import os
import re
import socket
import subprocess
import time
import urllib.request

TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stat(path):
    """Name, parent, processor seconds of a process or thread, and of its children that have ended."""
    with open(path) as file:
        head, _, tail = file.read().rpartition(")")
    fields = tail.split()
    own, ended = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return head.partition("(")[2], int(fields[1]), own / TICK, ended / TICK


def tree_seconds(root):
    """Processor seconds of a process and everything it has started."""
    total = 0.0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                _, parent, own, ended = stat(f"/proc/{name}/stat")
            except OSError:
                continue
            if int(name) == root:
                total += own + ended
            elif parent == root:
                total += own
    return total


def thread_seconds(pid):
    """Processor seconds of a process by the names of its threads."""
    seconds = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            name, _, own, _ = stat(f"/proc/{pid}/task/{thread}/stat")
        except OSError:
            continue
        seconds[name] = seconds.get(name, 0.0) + own
    return seconds


def resident_mib(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


class Projector:
    def __init__(self, program, environment, log):
        self.port = free_port()
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [program], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environment | {"ROLLCALL_ADMIN_LISTEN": f"127.0.0.1:{self.port}"})
        self.pid = self.process.pid

    def metrics(self):
        """Name and labels to value; empty while the process does not listen yet."""
        if self.process.poll() is not None:
            raise SystemExit(f"bench: a projector ended: {self.last_words()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        return {name: float(value) for name, value in re.findall(r"^(rollcall_\S+) (\S+)$", text, re.M)}

    def last_words(self):
        with open(self.log, errors="replace") as file:
            return file.read()[-2000:]

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Meter:
    """Processor seconds by part between two moments."""

    def __init__(self, postgres, broker, projectors=(), peer=None):
        self.postgres, self.broker, self.projectors, self.peer = postgres, broker, projectors, peer
        self.at = self.parts = None
        self.start()

    def read(self):
        parts = {"postgres": tree_seconds(self.postgres), "broker": tree_seconds(self.broker)}
        for projector in self.projectors:
            staged = 0.0
            for name, value in projector.metrics().items():
                if match := re.fullmatch(r'rollcall_projector_cpu_microseconds_total\{stage="(\w+)"\}', name):
                    parts[match[1]] = parts.get(match[1], 0.0) + value / 1e6
                    staged += value / 1e6
            for name, seconds in thread_seconds(projector.pid).items():
                if name.startswith("rdk:"):
                    part = "librdkafka"
                elif name == "kafka-consumer":
                    part = "fetch"
                elif name == "kafka-producer":
                    part = "publish"
                elif name.startswith("postgres-"):
                    part = "sql client"
                else:
                    part = "other"
                parts[part] = parts.get(part, 0.0) + seconds
            parts["other"] = parts.get("other", 0.0) - staged
        if self.peer:
            parts["other"] = stat(f"/proc/{self.peer}/stat")[2]
        return parts

    def start(self):
        self.at, self.parts = time.monotonic(), self.read()

    def stop(self):
        now, parts = time.monotonic(), self.read()
        return now - self.at, {name: value - self.parts.get(name, 0.0) for name, value in parts.items()}
