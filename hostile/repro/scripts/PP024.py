pool = [Client(f"connection {n}") for n in (1, 2)]  # the program's own pool
lost = []


def job():
    client = pool.pop()
    lost.append(client)
    if client.fails(client.query, "begin isolation level of a bad day"):
        return  # the code that gives it back is not reached
    lost.remove(client)
    pool.append(client)


job()
job()
alive = all(client.query("select 1") for client in lost)
seen(alive and not pool, "after 2 errors the program's pool of 2 is empty, although both connections work")
