"""Postfix's own pair: `smtp-sink`, which every contender sends to, and `smtp-source`, which is one of them."""
import os
import shutil
import socket
import subprocess
import time

from processes import free_port, tree_seconds


def program(name):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/lib/postfix/sbin")
    if not found:
        raise SystemExit(f"bench: {name} is missing; it comes with Debian's package postfix: apt-get install postfix")
    return found


class Sink:
    def __init__(self, log):
        self.port = free_port()
        user = ["-u", "postfix"] if os.geteuid() == 0 else []
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [program("smtp-sink"), *user, f"127.0.0.1:{self.port}", "1000"], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output)
        self.pid = self.process.pid
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    with open(log, errors="replace") as file:
                        raise SystemExit(f"bench: smtp-sink does not listen: {file.read()[-500:]}") from None
                time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def run_source(sink, sessions, messages, octets):
    """`smtp-source` keeps its sessions (`-d`) and sends the same octets every time."""
    spent = tree_seconds(sink.pid)
    begun = time.monotonic()
    process = subprocess.Popen(
        [program("smtp-source"), "-d", "-s", str(sessions), "-m", str(messages), "-l", str(octets),
         "-f", "sender@school.example", "-t", "family@families.example", f"127.0.0.1:{sink.port}"],
        stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"bench: smtp-source ended with {process.returncode}")
    return {"rate": messages / seconds, "seconds": seconds, "messages": messages,
            "parts": {"sink": tree_seconds(sink.pid) - spent, "source": usage.ru_utime + usage.ru_stime}}
