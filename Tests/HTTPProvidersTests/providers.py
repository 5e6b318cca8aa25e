"""Amazon SES as moto plays it, with its signatures checked, and a scripted server that speaks enough of SES and of
Twilio's API to say what either may answer.

    providers.py FOLDER

writes `providers.json` (ports, a key that may send and its secret) into FOLDER once both listen, and
`requests.ndjson`, one line for each request that the scripted server got. It ends with the process that started it.
"""

import base64
import http.server
import json
import os
import pathlib
import sys
import threading
import time
import urllib.parse

os.environ.update(
    INITIAL_NO_AUTH_ACTION_COUNT="5", AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="/dev/null",
    AWS_SHARED_CREDENTIALS_FILE="/dev/null")

import boto3  # noqa: E402
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


folder, lock, parent = pathlib.Path(sys.argv[1]), threading.Lock(), os.getppid()
moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
moto.start()
ses_port = moto.get_host_and_port()[1]
scripted = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
scripted.daemon_threads = True
threading.Thread(target=scripted.serve_forever, daemon=True).start()
access_key, secret_key = prepare(ses_port)
(folder / "requests.ndjson").touch()
(folder / "providers.tmp").write_text(json.dumps({
    "ses": ses_port, "scripted": scripted.server_address[1], "accessKey": access_key, "secretKey": secret_key,
    "account": ACCOUNT, "token": TOKEN}))
(folder / "providers.tmp").rename(folder / "providers.json")
while os.getppid() == parent:
    time.sleep(0.2)
os._exit(0)
