"""Reads messages as Python's email package does and says where that differs from what was meant.

    reader.py FILE

FILE has one JSON object on each line: `raw` (base64) and the values that the message was made from.
"""

import base64
import email
import email.errors
import email.header
import email.policy
import email.utils
import json
import sys


def read(raw):
    # A header with octets above 127 is UTF-8 (RFC 6532), for which the parser of bytes has no rule.
    if any(octet > 127 for octet in raw):
        return email.message_from_string(raw.decode(), policy=email.policy.SMTPUTF8)
    return email.message_from_bytes(raw, policy=email.policy.default)


def mailbox(message, name):
    """The older parser of names: the newer one of Python 3.11 puts a space between neighbouring encoded words."""
    (spec,) = (address.addr_spec for address in message[name].addresses)
    (field,) = (value for key, value in message.raw_items() if key.lower() == name)
    shown, _ = email.utils.parseaddr("".join(field.splitlines()))
    return [str(email.header.make_header(email.header.decode_header(shown))), spec]


def body(message, kind):
    part = message.get_body((kind,))
    return None if part is None else part.get_content().replace("\r\n", "\n")


def differences(case):
    raw = base64.b64decode(case["raw"])
    message = read(raw)
    found = {
        "from": mailbox(message, "from"), "to": mailbox(message, "to"), "subject": message["subject"],
        "messageID": message["message-id"], "date": int(message["date"].datetime.timestamp()),
        "text": body(message, "plain"), "html": body(message, "html"),
    }
    if "replyTo" in case:
        found["replyTo"] = mailbox(message, "reply-to")
    found["files"] = [
        [part.get_filename(), part.get_content_type(), base64.b64encode(part.get_payload(decode=True)).decode()]
        for part in (message.iter_attachments() if message.get_content_type() == "multipart/mixed" else [])
    ]
    if not message.is_multipart():
        # A message ends with a line end, whether its only part does or not.
        for kind in ("text", "html"):
            if found[kind] is not None and not (case.get(kind) or "").endswith("\n"):
                found[kind] = found[kind].removesuffix("\n")
    for name, value in found.items():
        if case.get(name) != value:
            yield f"{name}: {value!r} instead of {case.get(name)!r}"
    for part in message.walk():
        yield from (f"defect {defect!r}" for defect in part.defects)
        for name, header in part.items():
            for defect in header.defects:
                # What RFC 6532 allows, Python 3.11 reads and calls a defect.
                if not isinstance(defect, email.errors.NonASCIILocalPartDefect):
                    yield f"{name}: defect {defect!r}"
    lines = raw.split(b"\r\n")
    if any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines):
        yield "a bare CR, LF or NUL"
    if max(map(len, lines)) > 998 or lines[-1] != b"":
        yield "a line of more than 998 octets, or no line end at the end"


with open(sys.argv[1], encoding="utf-8") as file:
    count = 0
    for number, line in enumerate(file, 1):
        case = json.loads(line)
        count += 1
        for difference in differences(case):
            print(f"message {number}: {difference}")
print(f"{count} messages read")
