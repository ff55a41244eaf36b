"""psycopg2: each client is a thread with a connection of its own, in autocommit."""
import psycopg2
from client import RECIPE, URL, plan, say
from dbapi import run, scoped


def connect():
    c = psycopg2.connect(URL)
    c.autocommit = True
    return c


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


say("version", psycopg2.__version__.split()[0])
run(connect, settings)
