"""psycopg: each client is a thread with a connection of its own."""
import psycopg
from client import RECIPE, URL, plan, version
from dbapi import run, scoped

OPTIONS = {"prepare_threshold": None} if RECIPE else {}


def settings(c, client, n):
    tenant = plan(client, n)[0]
    with c.cursor() as cursor:
        if not RECIPE:
            cursor.execute(f"SET app.tenant TO '{tenant}'")
            scoped(cursor, client, n)
            return
        with c.transaction():
            cursor.execute("select set_config('app.tenant', %s, true)", (tenant,))
            scoped(cursor, client, n)


version("psycopg")
run(lambda: psycopg.connect(URL, autocommit=True, **OPTIONS), settings)
