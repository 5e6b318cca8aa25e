"""SMTP servers that behave badly in every way the tests name, made of aiosmtpd.

    peer.py FOLDER [N]

writes its certificates, `received.ndjson` (one line for each message it took) and, once all servers listen, `ports.json`
into FOLDER. It ends with the process that started it, and FOLDER with it. With N, it dies when it has the Nth message,
without an answer to it.
"""

import asyncio
import base64
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys

from aiosmtpd.smtp import SMTP, AuthResult

STAGES = ["greeting", "ehlo", "mail", "rcpt", "data", "dot"]
# What a server says instead of its own answer; bytes go out as they are.
REPLIES = {
    "421": "421 4.3.2 closing down",
    "451": "451 4.3.0 not now",
    "554": "554 5.0.0 no",
    "drop": None,
    "long": b"250 " + b"x" * 4000 + b"\r\n",
    "endless": b"250-more\r\n" * 200,
    "mixed": b"250-yes\r\n550 no\r\n",
    "junk": b"hello there\r\n",
    "barecr": b"250 ok\r250 ok\r\n",
    "binary": b"\x00\xff\xfe\r\n",
    "silent": b"",
}


class Nasty(SMTP):
    def __init__(self, handler, *, script=None, split=False, several=False, **settings):
        super().__init__(handler, hostname="mx.test", **settings)
        self.script, self.split, self.several = script or {}, split, several
        self.stage, self.is_replaced = "greeting", False

    async def push(self, status):
        stage = "dot" if self.stage == "data" and not status.startswith("354") else self.stage
        if self.is_replaced and stage == self.stage:
            return
        if stage in self.script:
            self.is_replaced = True
            return await self.misbehave(self.script[stage])
        if self.several and status[3:4] == " " and not status.startswith("354"):
            status = f"{status[:3]}-first line\r\n{status[:3]}-\r\n{status}"
        if not self.split:
            return await super().push(status)
        for octet in status.encode() + b"\r\n":
            self._writer.write(bytes([octet]))
            await self._writer.drain()
            await asyncio.sleep(0)

    async def misbehave(self, reply):
        if reply is None:
            return self.transport.abort()
        self._writer.write(reply if isinstance(reply, bytes) else reply.encode() + b"\r\n")
        await self._writer.drain()
        if isinstance(reply, str) and reply.startswith("421"):
            self.transport.close()

    def begin(self, stage):
        self.stage, self.is_replaced = stage, False


def at(stage, method):
    async def run(self, argument):
        self.begin(stage)
        return await getattr(SMTP, method)(self, argument)

    return run


for stage, method in {
    "ehlo": "smtp_EHLO", "helo": "smtp_HELO", "mail": "smtp_MAIL", "rcpt": "smtp_RCPT", "data": "smtp_DATA",
    "quit": "smtp_QUIT", "auth": "smtp_AUTH", "rset": "smtp_RSET",
}.items():
    setattr(Nasty, method, at(stage, method))


async def starttls(self, argument):
    self.begin("starttls")
    if "starttls" in self.script:
        return await self.push("220 ready")
    return await SMTP.smtp_STARTTLS(self, argument)


Nasty.smtp_STARTTLS = starttls
Nasty.smtp_STARTTLS.__name__ = "smtp_STARTTLS"


class Recorder:
    left = int(sys.argv[2]) if len(sys.argv) > 2 else 0

    def __init__(self, name, file):
        self.name, self.file = name, file

    async def handle_RCPT(self, server, session, envelope, address, options):
        local = address.split("@")[0]
        if local.startswith("unknown"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        login = getattr(session, "auth_data", None)
        record = {
            "server": self.name, "from": envelope.mail_from, "to": envelope.rcpt_tos[0],
            "options": envelope.mail_options, "isSecure": session.ssl is not None or self.name == "implicit",
            "login": login.login.decode() if hasattr(login, "login") else "",
            "content": base64.b64encode(envelope.original_content).decode(),
        }
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        Recorder.left -= 1
        if Recorder.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return "250 2.0.0 queued"


def authenticate(server, session, envelope, mechanism, data):
    is_right = data.login == "us\u00e9r".encode() and data.password == b"pass=word"
    return AuthResult(success=is_right, handled=False, auth_data=data)


def certificates(folder):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for ca in ["ca", "other-ca"]:
        openssl("req", "-x509", *key, "-days", "2", "-subj", f"/CN=Test {ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.crt")
    for name, alternatives in {
        "good": "DNS:localhost,DNS:relay.test,IP:127.0.0.1", "wrong": "DNS:elsewhere.test,IP:127.0.0.9",
    }.items():
        (folder / "names").write_text(f"subjectAltName={alternatives}\n")
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", f"{name}.crt",
        )


def context(folder, name):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    return made


async def main(folder):
    certificates(folder)
    good, wrong = context(folder, "good"), context(folder, "wrong")
    secure = {"tls_context": good, "require_starttls": True}
    login = {"auth_required": True, "authenticator": authenticate}
    servers = {
        "plain": {"enable_SMTPUTF8": True}, "ascii": {}, "small": {"data_size_limit": 100},
        "bare": {"script": {"ehlo": "250 mx.test"}}, "noehlo": {"script": {"ehlo": "502 5.5.1 what"}},
        "split": {"split": True}, "several": {"several": True},
        "starttls": secure, "wrongname": {**secure, "tls_context": wrong},
        "refusedtls": {"tls_context": good, "script": {"starttls": "454 4.7.0 no TLS now"}},
        "injected": {"tls_context": good, "script": {"starttls": b"220 ready\r\n250-mx\r\n250 AUTH PLAIN\r\n"}},
        "cutinjected": {"tls_context": good, "script": {"starttls": b"220 ready\r\n250-m"}},
        "lateinjected": {"tls_context": good, "script": {"starttls": b"220 ready\r\n"}},
        "implicit": {"is_implicit": True},
        "login": {**secure, **login}, "loginonly": {**secure, **login, "auth_exclude_mechanism": ["PLAIN"]},
        "clearlogin": {**login, "auth_require_tls": False}, "noauth": {**secure, "auth_exclude_mechanism": ["PLAIN", "LOGIN"]},
    }
    for stage in STAGES:
        for kind, reply in REPLIES.items():
            servers[f"{stage}-{kind}"] = {"script": {stage: reply}}
    ports = {}
    loop = asyncio.get_running_loop()
    with open(folder / "received.ndjson", "a", encoding="utf-8") as file:
        for name, settings in servers.items():
            tls = good if settings.pop("is_implicit", False) else None
            handler = Recorder(name, file)
            server = await loop.create_server(
                lambda handler=handler, settings=settings: Nasty(handler, loop=loop, **settings), "127.0.0.1", 0, ssl=tls
            )
            ports[name] = server.sockets[0].getsockname()[1]
        (folder / "ports.tmp").write_text(json.dumps(ports))
        (folder / "ports.tmp").rename(folder / "ports.json")
        parent = os.getppid()
        while os.getppid() == parent:
            await asyncio.sleep(0.5)
    shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main(pathlib.Path(sys.argv[1])))
