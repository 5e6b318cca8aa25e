"""What is sent: the message, the recipient lists, and the requests that make a blast of them."""
import http.client
import json

SENTENCE = ("Dear families of {{school}}, the buses of route {{route}} leave {{stop}} at noon on Friday; "
            "{{name}} has been told by the teacher of grade {{grade}}. ")


def paragraph(number, bare):
    """About 400 octets, part of them merge fields, as a newsletter has them."""
    text = (SENTENCE if number % 4 == 0 else "") + (
        f"Paragraph {number}: the district’s calendar, the lunch menu and the reports of the school board are kept "
        "where every family finds them, and nobody has to reply to this message. Café & library stay open. ")
    if bare:
        return text.replace("Café & library", "Café and library") + "\n\n"
    link = f'<a href="https://school.example/news/{number % 6}?from=mail&amp;id={number}">read more</a>'
    return f'<p style="margin:0 0 1em">{text.replace("&", "&amp;")}{link if number % 3 == 0 else ""}</p>\n'


def draft(label, octets):
    """Text and HTML that give a message of about so many octets once rendered and encoded."""
    count = max(1, octets // 1000)
    html = ("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>News</title></head><body>\n"
            + "".join(paragraph(number, False) for number in range(2 * count)) + "</body></html>\n")
    text = "".join(paragraph(number, True) for number in range(count // 2 + 1))
    return {"subject": f"{label}: news for {{{{name}}}}", "html": html, "text": text,
            "from": {"address": "office@school.example", "name": "Springfield Elementary"}}


def recipient_list(count):
    """CSV; every address its own."""
    lines = ["email,name,person_ref,school,grade,route,stop"]
    for number in range(1, count + 1):
        lines.append(f"family{number}@mail{number % 7}.families.example,Family Number {number},F{number:07},"
                     f"{'Lincoln' if number % 2 else 'Washington'} Elementary,{number % 12 + 1},{number % 90},"
                     f"Corner of Elm Street and {number % 200}th Avenue")
    return ("\n".join(lines) + "\n").encode()


class Intake:
    """The public API of a running sender."""

    def __init__(self, port, key):
        self.port, self.key = port, key

    def request(self, method, path, body, content_type="application/json", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request(method, path, body, {
                "Authorization": f"Bearer {self.key}", "Content-Type": content_type, **headers})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise SystemExit(f"bench: {method} {path} was answered {answer.status}: {text.decode()[:500]}")
        return json.loads(text)

    def make_draft(self, label, octets, **more):
        return self.request("POST", "/v1/blasts", json.dumps(draft(label, octets) | more))["blast_id"]

    def upload(self, blast, recipients):
        return self.request("PUT", f"/v1/blasts/{blast}/recipients", recipients, "text/csv")

    def order(self, blast):
        return self.request("POST", f"/v1/blasts/{blast}/send", "", **{"Idempotency-Key": f"bench-{blast}"})
