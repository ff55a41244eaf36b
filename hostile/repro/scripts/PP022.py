{{- if eq .Subject "rows of a COPY after its error"}}def fail(client):
    copy = "create temporary table rows_of_copy (n int) on commit drop; copy rows_of_copy from stdin"
    client.put(b"Q", copy.encode() + b"\0")
    client.put(b"d", b"this is no number\n")
    client.flush()
    client.fails(client.answers)
    client.put(b"d", b"1\n")  # had the client looked, it would not send these
    client.put(b"c")
    client.flush()


n = stuck(fail)
seen(n is not None, f"after {n} failed COPYs nobody else is served")
{{- else}}def ask(client):
    client.parse("", "select 1")
    client.bind("")
    client.execute()
    client.put(b"H")  # Flush, and no Sync
    client.flush()
    kind = b""
    while kind != b"C":  # CommandComplete: the client has its answer
        kind, length = client.read(1), int.from_bytes(client.read(4), "big")
        client.read(length - 4)


n = stuck(ask)
seen(n is not None, f"after {n} pipelines without a Sync nobody else is served")
{{- end}}
