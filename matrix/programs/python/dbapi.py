"""What the programs of drivers with cursors share: a client is a thread with a connection of its own."""
import threading

from client import CLIENTS, FIRST, OPERATIONS, WORK, Wrong, expect, plan, say, turns


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


def scoped(cursor, client, n):
    tenant, _, op, value = plan(client, n)
    expect("what it sees of documents", one(cursor, "select count(*), min(tenant), max(tenant) from documents"), (10, tenant, tenant))
    cursor.execute("insert into notes (op, value) values (%s, %s)", (op, value))
    expect("what was written", one(cursor, "select tenant, value from notes where op = %s", op), (tenant, value))
    expect("the setting", one(cursor, "select current_setting('app.tenant', true)"), tenant)


def run(connect, settings):
    """Each client's operations, on what connect returns; settings is the other kind of work."""
    def operations(client):
        c = None
        for n in range(OPERATIONS):
            try:
                if c is None or c.closed:
                    c = connect()
                {"statements": statements, "settings": settings}[WORK](c, client, n)
                say("right")
            except Wrong as e:
                say("wrong", e)
            except Exception as e:
                say("error", f"{type(e).__name__}: {e}")

    for client in range(FIRST, FIRST + CLIENTS):
        threading.Thread(target=operations, args=(client,)).start()
