def begin(client):
    client.query("begin")  # … and then does something slow


n = stuck(begin)
seen(n is not None, f"after {n} idle transactions nobody else is served")
