"""Amazon SES as moto plays it, with its signatures checked, and a scripted server that speaks enough of SES and of
Twilio's API to say what either may answer; both also behind TLS, with certificates good and bad.

    providers.py FOLDER

writes `providers.json` (ports, a key that may send and its secret), `ca.pem` and `other-ca.pem` into FOLDER once all
listen, and `requests.ndjson`, one line for each request that the scripted server got. It ends with the process that
started it.
"""

import asyncio
import base64
import datetime
import http.server
import ipaddress
import json
import os
import pathlib
import ssl
import sys
import threading
import time
import urllib.parse

os.environ.update(
    INITIAL_NO_AUTH_ACTION_COUNT="5", AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="/dev/null",
    AWS_SHARED_CREDENTIALS_FILE="/dev/null")

import boto3  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from moto.backends import get_backend  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

ACCOUNT, TOKEN = "AC" + "0" * 32, "5a" * 16
# By the last four digits of the number.
SMS = {
    "0211": (400, {"code": 21211, "message": "Invalid 'To' Phone Number", "status": 400}),
    "0610": (400, {"code": 21610, "message": "Attempt to send to unsubscribed recipient", "status": 400}),
    "0429": (429, {"code": 20429, "message": "Too Many Requests", "status": 429}),
    "0500": (500, {"message": "Internal Server Error", "status": 500}),
    "0504": (504, "gateway timeout"),
}
# By the local part of the recipient.
SES = {
    "throttled": (429, "TooManyRequestsException", {"message": "Maximum sending rate exceeded."}),
    "rejected": (400, "MessageRejected", {"message": "Email address is not verified."}),
    "suspended": (400, "AccountSuspendedException", {"message": "no"}),
    "skewed": (403, "InvalidSignatureException", {
        "message": "Signature expired: 20261122T000000Z is now earlier than 20261122T001000Z (20261122T001500Z - 5 min.)"}),
    "broken": (500, "InternalFailure", {"message": "oops"}),
    "empty": (200, None, {}),
    "huge": (200, None, {"MessageId": "x" * 100_000}),
}


class Scripted(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sms = not self.path.startswith("/v2/")
        request = dict(urllib.parse.parse_qsl(body.decode())) if sms else json.loads(body)
        to = request["To"] if sms else request["Destination"]["ToAddresses"][0]
        with lock, open(folder / "requests.ndjson", "a") as out:
            out.write(json.dumps({"path": self.path, "to": to, "body": request}) + "\n")
        if "hang" in to or to.endswith("0000"):
            time.sleep(3600)
        if "slow" in to:
            time.sleep(0.2)
        if "drop" in to or to.endswith("0001"):
            self.close_connection = True
            return
        self.text_message(to) if sms else self.mail(to)

    def text_message(self, to):
        expected = "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        if self.headers["Authorization"] != expected or self.path.split("/")[3] != ACCOUNT:
            return self.answer(401, {"code": 20003, "message": "Authenticate", "status": 401})
        status, answer = SMS.get(to[-4:], (201, {"sid": f"SM{to[1:]}", "status": "queued", "error_code": None}))
        self.answer(status, answer)

    def mail(self, to):
        name = to.split("@")[0]
        status, kind, answer = SES.get(name, (200, None, {"MessageId": f"id-{name}"}))
        self.answer(status, answer, {"x-amzn-ErrorType": f"{kind}:http://internal.amazon.com/"} if kind else {})

    def answer(self, status, answer, headers={}):
        body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        sent = get_backend("ses")["123456789012"]["us-east-1"].sent_messages
        self.answer(200, {"messages": [
            {"from": m.source, "to": m.destinations, "raw": m.raw_data} for m in sent if hasattr(m, "raw_data")]})

    def log_message(self, *_):
        pass


def prepare(port):
    def client(service):
        return boto3.client(
            service, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b",
            endpoint_url=f"http://127.0.0.1:{port}")

    iam, ses = client("iam"), client("ses")
    iam.create_user(UserName="u")
    key = iam.create_access_key(UserName="u")["AccessKey"]
    statement = {"Effect": "Allow", "Action": "ses:*", "Resource": "*"}
    iam.put_user_policy(
        UserName="u", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    ses.verify_email_identity(EmailAddress="office@school.example")
    ses.verify_domain_identity(Domain="school.example")
    return key["AccessKeyId"], key["SecretAccessKey"]


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def certificate(name, *, alternatives=None, issuer=None, days=(-1, 2)):
    """A certificate and its key; an authority's without an issuer."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin, end = (now + datetime.timedelta(days=day) for day in days)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(begin).not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True))
    if alternatives:
        made = made.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return made.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def context(name, issued, is_old=False):
    file = folder / f"{name}.pem"
    file.write_bytes(pem(issued[0]) + issued[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(file)
    if is_old:
        made.set_ciphers("DEFAULT:@SECLEVEL=0")
        made.minimum_version, made.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return made


def contexts():
    ca = certificate("Test ca")
    (folder / "ca.pem").write_bytes(pem(ca[0]))
    (folder / "other-ca.pem").write_bytes(pem(certificate("Test other-ca")[0]))
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    elsewhere = [x509.DNSName("elsewhere.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.9"))]
    good = certificate("good", alternatives=here, issuer=ca)
    return {
        "good": context("good", good), "old": context("old", good, is_old=True),
        "wrong": context("wrong", certificate("wrong", alternatives=elsewhere, issuer=ca)),
        "expired": context("expired", certificate("expired", alternatives=here, issuer=ca, days=(-3, -1))),
        "early": context("early", certificate("early", alternatives=here, issuer=ca, days=(1, 3))),
    }


async def pump(reader, writer):
    try:
        while octets := await reader.read(65_536):
            writer.write(octets)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def front(port, context):
    """The port of a server that takes TLS off and passes everything on."""
    async def serve(reader, writer):
        behind, into = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, into), pump(behind, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    return server.sockets[0].getsockname()[1]


ANSWER = b'{"MessageId": "id-raw"}'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
# By the local part of the recipient: the pieces that are written, one after the other.
RAW = {
    "split": [WHOLE[i:i + 1] for i in range(len(WHOLE))],
    "continue": [b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE],
    "chunked": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    + [b"1;x=y\r\n%c\r\n" % octet for octet in ANSWER] + [b"0\r\n\r\n"],
    "twice": [WHOLE + WHOLE],
    "junk": [b"250 hello there\r\n\r\n"],
    "cut": [WHOLE[:-1]],
    "cuthead": [WHOLE[:20]],
    "headers": [b"HTTP/1.1 200 OK\r\n" + b"X-Long: %s\r\n" % (b"x" * 1000) * 300],
    "both": [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    "list": [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"],
    "binary": [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\x00\xff\xfe"],
    "moved": [b"HTTP/1.1 307 Moved\r\nLocation: https://elsewhere.test/\r\nContent-Length: 0\r\n\r\n"],
    "odd": [b"HTTP/1.1 299 Fine\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)],
}


async def answer_raw(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    request = json.loads(await reader.readexactly(int(lengths[0][15:])))
    try:
        for piece in RAW[request["Destination"]["ToAddresses"][0].split("@")[0]]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        # The end of the connection is no part of what "whole" answers need.
        await asyncio.sleep(0.1)
    except OSError:
        pass
    writer.close()


async def raw():
    return (await asyncio.start_server(answer_raw, "127.0.0.1", 0)).sockets[0].getsockname()[1]


async def fronts(ses, scripted):
    made = contexts()
    return {"ses": await front(ses, made["good"])} | {name: await front(scripted, tls) for name, tls in made.items()}


folder, lock, parent = pathlib.Path(sys.argv[1]), threading.Lock(), os.getppid()
moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
moto.start()
ses_port = moto.get_host_and_port()[1]
scripted = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
scripted.daemon_threads = True
threading.Thread(target=scripted.serve_forever, daemon=True).start()
access_key, secret_key = prepare(ses_port)
loop = asyncio.new_event_loop()
secure = loop.run_until_complete(fronts(ses_port, scripted.server_address[1]))
raw_port = loop.run_until_complete(raw())
threading.Thread(target=loop.run_forever, daemon=True).start()
(folder / "requests.ndjson").touch()
(folder / "providers.tmp").write_text(json.dumps({
    "ses": ses_port, "scripted": scripted.server_address[1], "raw": raw_port, "accessKey": access_key,
    "secretKey": secret_key, "account": ACCOUNT, "token": TOKEN, "secure": secure}))
(folder / "providers.tmp").rename(folder / "providers.json")
while os.getppid() == parent:
    time.sleep(0.2)
os._exit(0)
