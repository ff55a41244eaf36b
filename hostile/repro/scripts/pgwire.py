"""A PostgreSQL client in a few lines, so that every message can be seen.

Python 3 and nothing else. It speaks protocol 3.0 without TLS, and logs in with
no password, a clear one, MD5 or SCRAM-SHA-256.
"""

import base64
import hashlib
import hmac
import os
import socket
import struct
import sys
import urllib.parse


class ServerError(Exception):
    """What the server (or the pooler) answered instead: code and message."""

    def __init__(self, fields):
        self.code, self.message = fields.get("C", ""), fields.get("M", "")
        super().__init__(f"{fields.get('S', '')} {self.code}: {self.message}")


class Unanswered(Exception):
    """No answer came in time."""


def give_up(why):
    """Ends a script that could not be played: it was neither seen nor not seen."""
    print(why, file=sys.stderr)
    sys.exit(2)


def text(s):
    return s.encode() + b"\0"


class Client:
    """One client connection, with a name to tell it from the other one."""

    def __init__(self, name, timeout=10.0, quiet=False, **parameters):
        self.name, self.quiet, self.status = name, quiet, ""
        self.out, self.notifications = b"", []
        address = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DATABASE_URL")
        if not address:
            give_up(f"say where PgBouncer listens: python3 {sys.argv[0]} postgres://repro@127.0.0.1:6433/repro")
        url = urllib.parse.urlsplit(address)
        self.user = urllib.parse.unquote(url.username or "postgres")
        self.password = urllib.parse.unquote(url.password or "")
        database = urllib.parse.unquote(url.path.lstrip("/")) or self.user
        try:
            self.socket = socket.create_connection((url.hostname, url.port or 5432), timeout)
        except OSError as e:
            give_up(f"{url.hostname}:{url.port or 5432} does not answer ({e}): start PgBouncer as README.md says")
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        startup = {"user": self.user, "database": database, **parameters}
        body = struct.pack("!i", 196608) + b"".join(text(k) + text(v) for k, v in startup.items()) + b"\0"
        self.socket.sendall(struct.pack("!i", len(body) + 4) + body)
        try:
            self.answers()
        except ServerError as e:
            if e.code.startswith("28") or "password" in e.message:
                give_up("the server wants a password: add password=… to the database's line in pgbouncer.ini")
            raise

    # Messages: each is only put by, until sync, query or flush sends them all.

    def put(self, kind, body=b""):
        self.out += kind + struct.pack("!i", len(body) + 4) + body

    def parse(self, name, sql):
        self.say(f"Parse {name or 'unnamed'}: {sql[:70]}")
        self.put(b"P", text(name) + text(sql) + struct.pack("!h", 0))

    def describe(self, name):
        self.put(b"D", b"S" + text(name))

    def bind(self, name, *values):
        self.say(f"Bind {name or 'unnamed'}{values if values and len(str(values)) < 70 else ''}")
        packed = b"".join(struct.pack("!i", len(v.encode())) + v.encode() for v in values)
        self.put(b"B", text("") + text(name) + struct.pack("!hh", 0, len(values)) + packed + struct.pack("!h", 0))

    def execute(self):
        self.put(b"E", text("") + struct.pack("!i", 0))

    def flush(self):
        data, self.out = self.out, b""
        self.socket.sendall(data)

    def sync(self):
        """Ends what was put by with a Sync, sends it, and returns its rows."""
        self.say("Sync")
        self.put(b"S")
        self.flush()
        return self.answers()

    def query(self, sql):
        """Runs a simple query and returns its rows."""
        self.say(sql)
        self.put(b"Q", text(sql))
        self.flush()
        return self.answers()

    def fails(self, step, *args):
        """Does a step that should fail, and returns the error, or None."""
        try:
            step(*args)
        except ServerError as e:
            return e
        return None

    # Answers

    def say(self, what):
        if not self.quiet:
            print(f"  {self.name}: {what}")

    def read(self, n):
        data = b""
        while len(data) < n:
            try:
                more = self.socket.recv(n - len(data))
            except TimeoutError as e:
                raise Unanswered(self.name) from e
            if not more:
                raise ConnectionError(f"the connection of {self.name} was closed")
            data += more
        return data

    def answers(self):
        """Reads up to ReadyForQuery."""
        rows, error = [], None
        while True:
            kind, length = struct.unpack("!ci", self.read(5))
            body = self.read(length - 4)
            if kind == b"Z":
                self.status = body.decode()
                if error:
                    self.say(f"   -> {error}")
                    raise error
                if rows:
                    self.say(f"   -> {str(rows)[:100]}")
                return rows
            if kind == b"D":
                rows.append(self.row(body))
            elif kind == b"A":
                channel, payload, _ = body[4:].split(b"\0", 2)
                self.notifications.append((channel.decode(), payload.decode()))
                self.say(f"   notification on {channel.decode()}: {payload.decode()}")
            elif kind == b"N":
                self.say(f"   {self.fields(body).get('M', '')}")
            elif kind == b"E":
                fields = self.fields(body)
                error = error or ServerError(fields)
                if fields.get("S") == "FATAL":
                    self.say(f"   -> {error}")
                    raise error
            elif kind == b"R":
                self.authenticate(body)

    @staticmethod
    def row(body):
        values, at = [], 2
        for _ in range(struct.unpack("!h", body[:2])[0]):
            (size,) = struct.unpack("!i", body[at : at + 4])
            at += 4
            values.append(None if size < 0 else body[at : at + size].decode())
            at += max(size, 0)
        return tuple(values)

    @staticmethod
    def fields(body):
        return {f[:1].decode(): f[1:].decode("utf-8", "replace") for f in body.split(b"\0") if f}

    def authenticate(self, body):
        (method,) = struct.unpack("!i", body[:4])
        if method == 3:
            self.put(b"p", text(self.password))
        elif method == 5:
            inner = hashlib.md5((self.password + self.user).encode()).hexdigest()
            self.put(b"p", text("md5" + hashlib.md5(inner.encode() + body[4:8]).hexdigest()))
        elif method == 10:
            self.first = "n=,r=" + base64.b64encode(os.urandom(18)).decode()
            message = ("n,," + self.first).encode()
            self.put(b"p", text("SCRAM-SHA-256") + struct.pack("!i", len(message)) + message)
        elif method == 11:
            self.put(b"p", self.scram(body[4:].decode()))
        elif method not in (0, 12):
            raise SystemExit(f"authentication method {method} is not supported")
        self.flush()

    def scram(self, challenge):
        given = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(given["s"]), int(given["i"]))
        final = "c=biws,r=" + given["r"]
        signed = ",".join((self.first, challenge, final)).encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature))
        return (final + ",p=" + base64.b64encode(proof).decode()).encode()


def stuck(begin):
    """Lets client after client do what keeps its server connection, until one is
    not answered any more; returns how many it took, or None."""
    clients = []
    for n in range(30):
        try:
            client = Client(f"client {n + 1}", timeout=2.0, quiet=n > 3)
            begin(client)
            clients.append(client)
        except Unanswered:
            return n
    return None


def seen(it, what):
    """Says whether the fault was seen, and ends the script."""
    print(("seen: " if it else "not seen: ") + what)
    sys.exit(0 if it else 1)
