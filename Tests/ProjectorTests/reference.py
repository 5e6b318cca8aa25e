"""An independent fold of delivery events: what the tables must say, written from the requirements and not from Swift.

    reference.py cases FIRST COUNT                  one random history a line, as JSON, with the hashes of its tables
    reference.py splits SEED RECIPIENTS RECORDS     one short history of one blast, split into batches in every way
    reference.py history SEED RECIPIENTS RECORDS    one long history of one blast, the same way
    reference.py rows SEED                          the rows behind the hashes of a case, to see what differs
    reference.py words                              reads a set of facts a line; writes what every vocabulary shows

A seed is all a history depends on. A record is [headers, value, broker time in ms]; the subject's "@0" stands for the
first blast of the case. An order is a list of batches, and a batch is a list of positions in the case's records: a
record may come several times. The state is the same after every order; the log is that of one order.
"""
import hashlib
import json
import pathlib
import random
import sys
from datetime import datetime, timedelta, timezone

CONTRACT = json.loads((pathlib.Path(__file__).parents[2] / "Shared/Contracts/facts.json").read_text())
BIT = CONTRACT["facts"]
CANONICAL, FINAL = CONTRACT["masks"]["canonical"], CONTRACT["masks"]["final"]
# First entry into one of these is listed apart: somebody may have to do something.
PROBLEMS = set(
    "no_address invalid blocked_bounce blocked_complaint blocked_invalid in_doubt unknown not_sent expired bounced"
    " bounced_invalid opted_out complained".split()
)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
START = (datetime(2026, 11, 20, 8, tzinfo=timezone.utc) - EPOCH) // timedelta(microseconds=1)
DISTRICT = 1
# Equal to Unicode, different in octets: the order of arrival must not decide between them either.
ANSWERS = ["yes", "no", "", "Ja, \u00fcber 3", "caf\u00e9", "cafe\u0301", "\U0001f600", "a|b\nc"]


# ---- Histories


def spelled(microseconds, rng):
    """A time as RFC 3339 allows to write it."""
    east = rng.choice([0, 0, 0, 120, -330])
    at = EPOCH + timedelta(microseconds=microseconds, minutes=east)
    text = at.strftime("%Y-%m-%dT%H:%M:%S")
    if microseconds % 1_000_000 or rng.random() < 0.5:
        text += f".{at.microsecond:06d}" + rng.choice(["", "", "000", "999"])
    zone = f"{'+' if east > 0 else '-'}{abs(east) // 60:02d}:{abs(east) % 60:02d}" if east else rng.choice("Zz")
    return text + zone


def record(event, rng):
    body = {"district": event["district"], "fact": event["fact"]}
    if event["attempt"]:
        number, at = event["attempt"]
        body["attempt"] = {"number": number, "at": spelled(at, rng)}
    for name in ("response", "evidence"):
        if event[name] is not None:
            body[name] = event[name]
    members = list(body.items())
    rng.shuffle(members)
    value = json.dumps(dict(members), ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event["id"],
        "ce_source": event["source"],
        "ce_type": "rollcall.delivery.observed.v1",
        "ce_time": spelled(event["at"], rng),
        "ce_subject": f"@{event['blast']}/{event['no']}",
    }
    if event["poison"] == "value":
        value = rng.choice(["", "[]", value[:-1], value.replace('"fact"', '"fact": "sent", "fact"')])
    elif event["poison"] == "type":
        headers["ce_type"] = "rollcall.delivery.observed.v2"
    elif event["poison"] == "fact":
        value = value.replace(f'"{event["fact"]}"', '"levitated"')
    return [headers, value, event["recorded"] // 1000]


def random_event(seed, number, blasts, rng):
    blast = rng.randrange(len(blasts))
    event = {
        "id": f"{seed}-{number}",
        "source": rng.choice(["/rollcall/sender", "/rollcall/event-ingester"]),
        "blast": blast,
        "no": rng.randint(1, blasts[blast]),
        "district": DISTRICT,
        "fact": rng.choice(list(BIT)),
        "at": START + rng.randrange(5) * 1_000_000 + rng.choice([0, 0, 1, 250_000]),
        "attempt": None,
        "response": rng.choice(ANSWERS) if rng.random() < 0.3 else None,
        "evidence": rng.choice([None, "250 2.0.0 OK", "r\u00e9ponse \u2713", "x" * 600]),
        "recorded": START + number * 1000,
        "poison": None,
    }
    if rng.random() < 0.4:
        event["attempt"] = (rng.randint(1, 4), START + rng.randrange(9) * 1_000_000)
    odd = rng.random()
    if odd < 0.03:
        event["no"] += 1000
    elif odd < 0.05:
        event["district"] = DISTRICT + 1
    elif odd < 0.09:
        event["poison"] = rng.choice(["value", "type", "fact"])
    return event


def batches(positions, longest, rng):
    positions = list(positions)
    result = []
    while positions:
        size = rng.randint(1, longest)
        result.append(positions[:size])
        positions = positions[size:]
    return result


def splits(count):
    """Every way to cut so many records into batches, in their order."""
    for cuts in range(1 << count - 1):
        result = [[0]]
        for position in range(1, count):
            if cuts >> position - 1 & 1:
                result.append([])
            result[-1].append(position)
        yield result


def case(seed, blasts=None, count=None, orders=2, is_split=False):
    rng = random.Random(seed)
    blasts = blasts or [rng.randint(1, 4) for _ in range(rng.randint(1, 2))]
    events = [random_event(seed, number, blasts, rng) for number in range(count or rng.randint(1, 24))]
    if is_split:
        return blasts, events, [record(event, rng) for event in events], list(splits(len(events)))
    told = list(range(len(events)))
    result = []
    for order in range(orders):
        positions = told + rng.choices(told, k=rng.randint(0, max(1, len(told) // 3)))
        if order:
            rng.shuffle(positions)
        result.append(batches(positions, rng.choice([1, 4, 12, 40]), rng))
    return blasts, events, [record(event, rng) for event in events], result


# ---- The fold


def text(value):
    return "" if value is None else "x" + value.encode().hex()


def plain(value):
    return "" if value is None else str(value)


def fold(blasts, events, order):
    """The rows of the tables after the events came in this order: state, and log."""
    fresh = {"facts": 1, "attempts": 0, "last": None, "answer": None, "changed": None, "seq": None}
    states = {(b, n): dict(fresh) for b, size in enumerate(blasts) for n in range(1, size + 1)}
    problems, log, seq = set(), [], 0
    positions = [position for batch in order for position in batch]
    for offset, event in enumerate(events[position] for position in positions):
        state = states.get((event["blast"], event["no"]))
        if event["poison"] or state and event["district"] != DISTRICT:
            log.append(f"dead|{offset}")
            continue
        if state is None:
            log.append(f"late|{offset}|{event['id']}|{BIT[event['fact']]}")
            continue
        before = dict(state)
        state["facts"] |= 1 << BIT[event["fact"]]
        if event["attempt"]:
            state["attempts"] = max(state["attempts"], event["attempt"][0])
            state["last"] = max(state["last"] or 0, event["attempt"][1])
        if event["response"] is not None:
            given = (event["at"], event["response"].encode())
            if state["answer"] is None or given > state["answer"]:
                state["answer"] = given
        if state == before:
            continue
        seq += 1
        is_new = state["facts"] != before["facts"]
        if is_new and event["fact"] in PROBLEMS:
            problems.add(f"problem|{event['blast']}|{BIT[event['fact']]}|{event['no']}")
        state["changed"] = max(state["changed"] or 0, event["at"])
        state["seq"] = seq
        log.append(
            f"log|{seq}|{plain(before['seq'])}|{event['blast']}|{event['no']}|{event['id']}|{event['source']}|"
            f"{BIT[event['fact']] if is_new else ''}|{state['facts']}|{state['attempts']}|{plain(state['last'])}|"
            f"{answer_of(state)}|{state['changed']}|{event['at']}|{event['recorded'] // 1000 * 1000}|"
            f"{text(event['evidence'] and event['evidence'][:512])}"
        )
    log.append(f"fence|{len(positions)}|{seq}")
    rows, counts = sorted(problems), {}
    for (blast, number), state in states.items():
        counts[blast, state["facts"]] = counts.get((blast, state["facts"]), 0) + 1
        at = plain(state["answer"] and state["answer"][0])
        rows.append(
            f"delivery|{blast}|{number}|{state['facts']}|{state['attempts']}|{plain(state['last'])}|"
            f"{answer_of(state)}|{at}"
        )
    rows += [f"count|{blast}|{facts}|{n}" for (blast, facts), n in counts.items()]
    return sorted(rows), sorted(log)


def answer_of(state):
    return "" if state["answer"] is None else "x" + state["answer"][1].hex()


def digest(rows):
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def described(seed, **shape):
    blasts, events, records, orders = case(seed, **shape)
    folded = [fold(blasts, events, order) for order in orders]
    states = {digest(state) for state, _ in folded}
    assert len(states) == 1, f"seed {seed}: the state depends on the order"
    deliveries = [row.split("|") for row in folded[0][0] if row.startswith("delivery|0|")]
    return {
        "seed": seed, "blasts": blasts, "records": records, "orders": orders, "state": states.pop(),
        "logs": [digest(log) for _, log in folded], "dead": sum(row.startswith("dead|") for row in folded[0][1]),
        "late": sum(row.startswith("late|") for row in folded[0][1]),
        "facts": {row[2]: int(row[3]) for row in deliveries},
    }


# ---- What the sets show


def shown(facts):
    def name_of_highest(mask):
        return next(name for name, bit in reversed(BIT.items()) if facts & mask & 1 << bit)

    bounced = facts & (1 << BIT["bounced"] | 1 << BIT["bounced_invalid"])
    words = [v["words"][name_of_highest(v["mask"])] for _, v in sorted(CONTRACT["vocabularies"].items())]
    return "|".join(
        [
            str(facts), name_of_highest(CANONICAL), str(bin(facts & CANONICAL).count("1") - 1),
            str(int(facts & FINAL != 0)), str(int(bool(bounced) and facts & 1 << BIT["delivered"] != 0)), *words,
        ]
    )


def main():
    command, numbers = sys.argv[1], [int(argument) for argument in sys.argv[2:]]
    if command == "cases":
        for seed in range(numbers[0], numbers[0] + numbers[1]):
            print(json.dumps(described(seed)))
    elif command == "splits":
        print(json.dumps(described(numbers[0], blasts=[numbers[1]], count=numbers[2], is_split=True)))
    elif command == "history":
        print(json.dumps(described(numbers[0], blasts=[numbers[1]], count=numbers[2], orders=1)))
    elif command == "rows":
        blasts, events, _, orders = case(numbers[0])
        for number, order in enumerate(orders):
            state, log = fold(blasts, events, order)
            print("\n".join(f"{number} {row}" for row in state + log))
    elif command == "words":
        print("\n".join(shown(int(line)) for line in sys.stdin))
    else:
        sys.exit(__doc__)


main()
