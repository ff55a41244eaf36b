"""The protocol itself, without a driver: what drivers do that nobody here has, and what is easily taken for a fault."""
import os
import socket
import struct
import sys
from urllib.parse import unquote, urlparse


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def text(*words):
    return b"".join(word.encode() + b"\0" for word in words)


def query(sql):
    return message(b"Q", text(sql))


def parse(name, sql):
    return message(b"P", text(name, sql) + struct.pack("!h", 0))


def bind(statement, *values, portal=""):
    values = b"".join(struct.pack("!i", len(v)) + v.encode() for v in values), len(values)
    return message(b"B", text(portal, statement) + struct.pack("!hh", 0, values[1]) + values[0] + struct.pack("!h", 0))


EXECUTE, SYNC, FLUSH = message(b"E", b"\0" + struct.pack("!i", 0)), message(b"S"), message(b"H")


class Client:
    def __init__(self, **startup):
        url = urlparse(os.environ["DATABASE_URL"])
        self.password = unquote(url.password or "")
        self.socket = socket.create_connection((url.hostname, url.port))
        self.stream = self.socket.makefile("rb")
        body = b"".join(text(k, v) for k, v in {"user": unquote(url.username), "database": url.path[1:], **startup}.items())
        self.socket.sendall(struct.pack("!ii", len(body) + 9, 196608) + body + b"\0")
        self.until(b"Z")

    def until(self, last):
        """Read messages up to one of this kind, and return the fields of the rows among them."""
        rows = []
        while True:
            kind = self.stream.read(1)
            if not kind:
                sys.exit("wrong: the connection was closed")
            body = self.stream.read(struct.unpack("!i", self.stream.read(4))[0] - 4)
            if kind == b"E":
                sys.exit("wrong: " + " ".join(f[1:].decode() for f in body.split(b"\0") if f[:1] in (b"C", b"M")))
            if kind == b"R" and body[:4] == struct.pack("!i", 3):
                self.socket.sendall(message(b"p", text(self.password)))
            if kind == b"D":
                rows.append(body[6:].decode())
            if kind == last:
                return rows

    def ask(self, *messages, until=b"Z"):
        self.socket.sendall(b"".join(messages))
        return self.until(until)


def expect(got, want):
    if got != want:
        sys.exit(f"wrong: {got}, not {want}")


form = sys.argv[1]
if form == "closed":  # a named statement that is closed before its Sync
    client = Client()
    for n in range(10):
        close = message(b"C", b"S" + text("once"))
        expect(client.ask(parse("once", "select $1::text"), bind("once", str(n)), EXECUTE, close, SYNC), [str(n)])
elif form == "flush":  # Parse and Describe, and the rest once the description has come
    client = Client()
    for n in range(10):
        client.ask(parse("", "select $1::text"), message(b"D", b"S" + text("")), FLUSH, until=b"T")
        expect(client.ask(bind("", str(n)), EXECUTE, SYNC), [str(n)])
elif form == "portal":  # a named portal that goes on in its own transaction
    client = Client()
    client.ask(query("begin"))
    three = message(b"E", text("rows") + struct.pack("!i", 3))
    expect(client.ask(parse("", "select generate_series(1, 5)"), bind("", portal="rows"), three, SYNC), ["1", "2", "3"])
    expect(client.ask(three, SYNC), ["4", "5"])
    client.ask(query("commit"))
elif form == "tracked":  # startup parameters that poolers set again for each client
    client = Client(application_name="wire", TimeZone="Asia/Tokyo", DateStyle="German")
    for _ in range(4):
        expect(client.ask(query("select current_setting('TimeZone') || ' ' || current_setting('DateStyle')")), ["Asia/Tokyo German, DMY"])
elif form == "isolation":  # what holds for one transaction
    client = Client()
    for _ in range(4):
        client.ask(query("begin"))
        client.ask(query("set transaction isolation level serializable"))
        expect(client.ask(query("show transaction_isolation")), ["serializable"])
        client.ask(query("commit"))
        expect(client.ask(query("show transaction_isolation")), ["read committed"])
elif form == "sequence":  # currval in the transaction of its nextval
    client = Client()
    for _ in range(4):
        (n,) = client.ask(query("begin; select nextval('note_id_seq')"))
        expect(client.ask(query("select currval('note_id_seq')")), [n])
        client.ask(query("commit"))
elif form == "lock":  # an advisory lock of the transaction
    client = Client()
    for _ in range(4):
        client.ask(query("begin; select pg_advisory_xact_lock(7)"))
        expect(client.ask(query("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")), ["1"])
        client.ask(query("commit"))
elif form == "cursor":  # a cursor of the transaction, without WITH HOLD
    client = Client()
    for _ in range(4):
        client.ask(query("begin; declare names cursor for select name from item order by id"))
        expect(client.ask(query("fetch 2 from names")), ["item 1", "item 2"])
        client.ask(query("commit"))
elif form == "prepare":  # PREPARE and DEALLOCATE in one transaction
    client = Client()
    for _ in range(4):
        client.ask(query("begin; prepare by_id as select name from item where id = $1"))
        expect(client.ask(query("execute by_id(3)")), ["item 3"])
        client.ask(query("deallocate by_id; commit"))
elif form == "undone":  # what would stay for the session, undone in its own transaction
    client = Client()
    for do, undo in [
        ("select pg_advisory_lock(7)", "select pg_advisory_unlock(7)"),
        ("create temp table scratch (id int)", "drop table scratch"),
        ("declare names cursor with hold for select name from item", "close names"),
        ("listen news", "unlisten news"),
        ("set role corpus_reader", "reset role"),
        ("set work_mem = '9MB'", "reset work_mem"),
    ]:
        for sql in ("begin", do, "select 1", undo, "commit"):
            client.ask(query(sql))
elif form == "style":  # IntervalStyle for the session
    client = Client()
    style, day = (("iso_8601", "P1D"), ("sql_standard", "1 0:00:00"))[os.getpid() % 2]
    client.ask(query(f"set intervalstyle = '{style}'"))
    for _ in range(4):
        expect(client.ask(query("select interval '1 day'")), [day])
elif form == "style-local":  # and for the transaction
    client = Client()
    for _ in range(4):
        client.ask(query("begin; set local intervalstyle = 'iso_8601'"))
        expect(client.ask(query("select interval '1 day'")), ["P1D"])
        client.ask(query("commit"))
elif form == "pieces":  # a setting whose name is put together
    client = Client()
    client.ask(query(f"do $$begin execute format('set %s = %L', 'app.' || 'piece', 'of {os.getpid()}'); end$$"))
    for _ in range(4):
        expect(client.ask(query("select current_setting('app.' || 'piece', true)")), [f"of {os.getpid()}"])
elif form == "pieces-local":  # for the transaction
    client = Client()
    for _ in range(4):
        client.ask(query("begin; do $$begin execute format('set local %s = %L', 'app.' || 'piece', 'mine'); end$$"))
        expect(client.ask(query("select current_setting('app.' || 'piece', true)")), ["mine"])
        client.ask(query("commit"))
elif form == "interval":  # IntervalStyle as a startup parameter
    client = Client(IntervalStyle="iso_8601")
    for _ in range(4):
        expect(client.ask(query("select interval '1 day'::text")), ["P1D"])
elif form == "timeout":  # statement_timeout as one
    client = Client(statement_timeout="5s")
    expect(client.ask(query("show statement_timeout")), ["5s"])
