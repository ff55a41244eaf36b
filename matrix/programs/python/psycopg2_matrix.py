"""psycopg2: each client is a thread with a connection of its own, in autocommit."""
import threading

import psycopg2
from client import CLIENTS, FIRST, OPERATIONS, RECIPE, URL, WORK, Wrong, expect, plan, say, turns, version


def one(cursor, sql, *values):
    cursor.execute(sql, values)
    row = cursor.fetchone()
    return row and (row[0] if len(row) == 1 else row)


def statements(c, client, n):
    tenant, id, op, value = plan(client, n)
    with c.cursor() as cursor:
        def name():
            expect(f"the name of item {id}", one(cursor, "select name from items where id = %s", id), f"item {id}")

        def owner():
            expect(f"the tenant of item {id}", one(cursor, "select tenant from items where id = %s", id), tenant)

        for ask in turns(client, name, owner):
            ask()
        cursor.execute("insert into written (tenant, op, value) values (%s, %s, %s)", (tenant, op, value))
        expect("what was written", one(cursor, "select value from written where tenant = %s and op = %s", tenant, op), value)


def settings(c, client, n):
    tenant = plan(client, n)[0]
    with c.cursor() as cursor:
        if not RECIPE:
            cursor.execute(f"SET app.tenant TO '{tenant}'")
            scoped(cursor, client, n)
            return
        cursor.execute("begin")
        try:
            cursor.execute("select set_config('app.tenant', %s, true)", (tenant,))
            scoped(cursor, client, n)
            cursor.execute("commit")
        except Exception:
            cursor.execute("rollback")
            raise


def scoped(cursor, client, n):
    tenant, _, op, value = plan(client, n)
    expect("what it sees of documents", one(cursor, "select count(*), min(tenant), max(tenant) from documents"), (10, tenant, tenant))
    cursor.execute("insert into notes (op, value) values (%s, %s)", (op, value))
    expect("what was written", one(cursor, "select tenant, value from notes where op = %s", op), (tenant, value))
    expect("the setting", one(cursor, "select current_setting('app.tenant', true)"), tenant)


def run(client):
    c = None
    for n in range(OPERATIONS):
        try:
            if c is None or c.closed:
                c = psycopg2.connect(URL)
                c.autocommit = True
            {"statements": statements, "settings": settings}[WORK](c, client, n)
            say("right")
        except Wrong as e:
            say("wrong", e)
        except Exception as e:
            say("error", f"{type(e).__name__}: {e}")


say("version", psycopg2.__version__.split()[0])
for client in range(FIRST, FIRST + CLIENTS):
    threading.Thread(target=run, args=(client,)).start()
