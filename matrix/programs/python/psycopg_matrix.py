"""psycopg: each client is a thread with a connection of its own."""
import threading

import psycopg
from client import CLIENTS, FIRST, OPERATIONS, RECIPE, URL, WORK, Wrong, expect, plan, say, turns, version

OPTIONS = {"prepare_threshold": None} if RECIPE else {}


def one(c, sql, *values):
    row = c.execute(sql, values).fetchone()
    return row and (row[0] if len(row) == 1 else row)


def statements(c, client, n):
    tenant, id, op, value = plan(client, n)

    def name():
        expect(f"the name of item {id}", one(c, "select name from items where id = %s", id), f"item {id}")

    def owner():
        expect(f"the tenant of item {id}", one(c, "select tenant from items where id = %s", id), tenant)

    for ask in turns(client, name, owner):
        ask()
    c.execute("insert into written (tenant, op, value) values (%s, %s, %s)", (tenant, op, value))
    expect("what was written", one(c, "select value from written where tenant = %s and op = %s", tenant, op), value)


def settings(c, client, n):
    tenant = plan(client, n)[0]
    if not RECIPE:
        c.execute(f"SET app.tenant TO '{tenant}'")
        scoped(c, client, n)
        return
    with c.transaction():
        c.execute("select set_config('app.tenant', %s, true)", (tenant,))
        scoped(c, client, n)


def scoped(c, client, n):
    tenant, _, op, value = plan(client, n)
    expect("what it sees of documents", one(c, "select count(*), min(tenant), max(tenant) from documents"), (10, tenant, tenant))
    c.execute("insert into notes (op, value) values (%s, %s)", (op, value))
    expect("what was written", one(c, "select tenant, value from notes where op = %s", op), (tenant, value))
    expect("the setting", one(c, "select current_setting('app.tenant', true)"), tenant)


def run(client):
    c = None
    for n in range(OPERATIONS):
        try:
            if c is None or c.closed:
                c = psycopg.connect(URL, autocommit=True, **OPTIONS)
            {"statements": statements, "settings": settings}[WORK](c, client, n)
            say("right")
        except Wrong as e:
            say("wrong", e)
        except Exception as e:
            say("error", f"{type(e).__name__}: {e}")


version("psycopg")
for client in range(FIRST, FIRST + CLIENTS):
    threading.Thread(target=run, args=(client,)).start()
