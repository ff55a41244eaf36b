a, b = Client("a"), Client("b")


def ask(client, seconds):
    """Asks twice before it reads an answer; the network is late with the last bytes."""
    for which in ("first", "second"):
        client.parse("", f"select $1::text, pg_sleep({seconds})")
        client.bind("", f"for {client.name}: the {which} answer")
        if which == "first":
            client.execute()
            client.put(b"S")
    client.out, client.late = client.out[:-10], client.out[-10:]
    client.flush()


# Each client has a server connection until its first answer. Then the pooler takes
# it away, with a part of the second Bind on it. The connection that it takes away
# first, it hands out last.
ask(a, 0.2)
ask(b, 0.4)
a.answers()
b.answers()

a.out += a.late
a.execute()
rows = a.sync()
seen(rows == [("for b: the second answer", "")], "client a was given what client b asked for, and no error said so")
