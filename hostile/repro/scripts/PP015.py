def fail(client):
    for sql in ("begin", "select 1/0", "commit"):
        client.parse("", sql)
        client.bind("")
        client.execute()
    client.fails(client.sync)
    assert client.status == "E", client.status  # COMMIT was skipped


n = stuck(fail)
seen(n is not None, f"after {n} failed pipelines nobody else is served")
