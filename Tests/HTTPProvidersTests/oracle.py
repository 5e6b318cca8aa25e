"""Signatures as the providers' own libraries make them.

    oracle.py CASES

reads a JSON file of cases and prints the answers as a JSON list: for Twilio `{"token", "url", "parameters": [[n, v], …]}`
the signature; for Amazon `{"key", "secret", "token", "region", "service", "time", "url", "headers", "body"}` the
`Authorization` header.
"""

import datetime
import json
import sys

import botocore.auth
import botocore.compat
import botocore.credentials
from botocore.awsrequest import AWSRequest
from twilio.request_validator import RequestValidator
from werkzeug.datastructures import MultiDict


def twilio(case):
    return RequestValidator(case["token"]).compute_signature(case["url"], MultiDict(case["parameters"]))


def amazon(case):
    moment = datetime.datetime.fromtimestamp(case["time"], datetime.timezone.utc)
    botocore.auth.get_current_datetime = lambda *_, **__: moment.replace(tzinfo=None)
    credentials = botocore.credentials.Credentials(case["key"], case["secret"], case.get("token"))
    request = AWSRequest("POST", case["url"], headers=dict(case["headers"]), data=case["body"].encode())
    botocore.auth.SigV4Auth(credentials, case["service"], case["region"]).add_auth(request)
    return request.headers["Authorization"]


cases = json.load(open(sys.argv[1]))
print(json.dumps([twilio(case) if "parameters" in case else amazon(case) for case in cases]))
