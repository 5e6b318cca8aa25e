"""The sender against Postfix's smtp-source, and its intake against \\copy. `make bench-sender` runs it."""
import argparse
import os
import statistics
import sys
import time
from datetime import datetime, timezone

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.append(os.path.join(os.path.dirname(HERE), "projector"))

import intake  # noqa: E402
import mail  # noqa: E402
import material  # noqa: E402
from rig import Rig  # noqa: E402


def say(*words):
    print(f"[{time.monotonic() - STARTED:5.0f} s]", *words, flush=True)


class Bench:
    def __init__(self, options):
        self.options, self.rows = options, []
        self.rig = Rig(options.programs)
        self.sink = mail.Sink(os.path.join(self.rig.state, "log", "bench-sink.log"))

    # Handing over.

    def add(self, name, sessions, result):
        self.rows.append((name, sessions, result))
        say(f"{name}, {sessions} sessions: {result['rate']:,.0f} messages/s in {result['seconds']:.1f} s")

    def median(self, name, sessions):
        rates = [result["rate"] for row, count, result in self.rows if (row, count) == (name, sessions)]
        return statistics.median(rates) if rates else None

    def run_sender(self, sessions, messages, octets, durable=True):
        """From the moment the chunks are cleared until every outcome is stored and every event published."""
        rig, label = self.rig, f"run {len(self.rows)}"
        sender = rig.start_sender(rig.fresh_database(durable), self.sink.port, sessions)
        try:
            blast = sender.intake.make_draft(label, octets)
            sender.intake.upload(blast, material.recipient_list(messages))
            sender.intake.order(blast)
            result = rig.hand_over(sender, blast, messages, self.sink)
        finally:
            sender.stop()
        rig.check(blast, messages)
        return result

    def compare(self, sessions, messages, octets, pairs):
        for _ in range(pairs):
            self.add("smtp-source -d", sessions, mail.run_source(self.sink, sessions, messages * 2, octets))
            self.add("sender", sessions, self.run_sender(sessions, messages, octets))
            self.add("sender, attempts not durable", sessions, self.run_sender(sessions, messages, octets, False))

    def print_table(self):
        parts = ["sink", "source", "postgres", "broker", "librdkafka", "sql client", "smtp", "compose",
                 "other"]
        print("\nprocessor time in core-microseconds per message, by part")
        print(f"{'':30}{'sessions':>9}{'messages/s':>11}{'s':>6}{'MiB':>5} |"
              + "".join(f"{part:>11}" for part in parts) + f"{'all':>8}")
        for name, sessions, result in self.rows:
            spent = [result["parts"].get(part, 0.0) / result["messages"] * 1e6 for part in parts]
            memory = f"{result['memory']:.0f}" if "memory" in result else ""
            print(f"{name:30}{sessions:>9}{result['rate']:>11,.0f}{result['seconds']:>6.1f}{memory:>5} |"
                  + "".join(f"{value:>11.1f}" if value else f"{'':>11}" for value in spent) + f"{sum(spent):>8.1f}")

    # Memory.

    def peak_memory(self, recipients, seconds):
        """The most memory a sender ever had: list taken in, ordered, and handed over for so long at most."""
        rig = self.rig
        sender = rig.start_sender(rig.fresh_database(), self.sink.port, 50)
        try:
            blast = sender.intake.make_draft("memory", 1000)
            sender.intake.upload(blast, material.recipient_list(recipients))
            after_list = sender.peak_mib()
            sender.intake.order(blast)
            result = rig.hand_over(
                sender, blast, recipients, self.sink, seconds,
                lambda: say(f"amid {recipients:,} recipients: an emergency to 1,000 was handed over within"
                            f" {rig.emergency(sender, material.recipient_list(1000)):.1f} s of its order"))
            peak = sender.peak_mib()
        finally:
            sender.stop()
        say(f"{recipients:,} recipients: {after_list:.0f} MiB at most with the list, {peak:.0f} MiB after"
            f" {result['messages']:,.0f} messages of 1 KB were handed over")
        return peak

    def ratio(self, name, above, below):
        if above and below:
            print(f"ratio {name} {above / below:.2f}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", default=os.path.join(ROOT, ".build-release/release"), help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a quarter of the work, one pair each")
    parser.add_argument("--messages", type=int, default=60_000, help="messages of a run (default %(default)s)")
    parser.add_argument("--octets", type=int, default=10_240, help="octets of a message (default %(default)s)")
    parser.add_argument("--pairs", type=int, default=2, help="alternating runs per comparison (default %(default)s)")
    parser.add_argument("--sessions", type=int, nargs="*", default=[10, 50], help="SMTP sessions (default 10 50)")
    parser.add_argument("--rows", type=int, default=200_000, help="recipients of a list (default %(default)s)")
    parser.add_argument("--seconds", type=int, default=60, help="hand-over of the memory runs (default %(default)s)")
    parser.add_argument("--only", choices=["wire", "intake", "memory"], help="one part of it")
    return parser.parse_args()


def main():
    options = arguments()
    if options.quick:
        options.messages, options.rows, options.pairs = options.messages // 4, options.rows // 4, 1
        options.seconds = 10
    print(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    bench = Bench(options)
    lists, growth = [], None
    try:
        bench.rig.make_template()
        if options.only in (None, "wire"):
            for sessions in options.sessions:
                bench.compare(sessions, options.messages, options.octets, options.pairs)
        if options.only in (None, "intake"):
            for _ in range(options.pairs):
                lists.append(intake.compare(bench.rig, bench.sink.port, options.rows))
                say(f"{options.rows:,} rows: intake {lists[-1][0]:,.0f} rows/s, \\copy {lists[-1][1]:,.0f} rows/s")
        if options.only in (None, "memory"):
            small = bench.peak_memory(10_000, options.seconds)
            growth = bench.peak_memory(1_000_000, options.seconds) - small
    finally:
        bench.sink.stop()
    bench.rig.administer("DROP DATABASE IF EXISTS run")
    if bench.rows:
        bench.print_table()
    print()
    for sessions in options.sessions:
        bench.ratio(f"sender_vs_smtp_source_{sessions}", bench.median("sender", sessions),
                    bench.median("smtp-source -d", sessions))
    for sessions in options.sessions:
        bench.ratio(f"sender_not_durable_vs_smtp_source_{sessions}",
                    bench.median("sender, attempts not durable", sessions), bench.median("smtp-source -d", sessions))
    best = [max(filter(None, (bench.median(name, sessions) for sessions in options.sessions)), default=None)
            for name in ("sender", "smtp-source -d")]
    bench.ratio("sender_vs_smtp_source", *best)
    if lists:
        bench.ratio("intake_vs_copy", *(statistics.median(each[side] for each in lists) for side in (0, 1)))
    if growth is not None:
        print(f"mib sender_rss_growth {max(0, growth):.0f}")


STARTED = time.monotonic()
if __name__ == "__main__":
    main()
