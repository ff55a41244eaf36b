"""A client-side pool that cleans every connection that comes back."""
import os
import sys

from psycopg_pool import ConnectionPool


def clean(conn):
    conn.autocommit = True
    conn.execute("discard all")


reset = clean if sys.argv[1] == "faulty" else None
with ConnectionPool(os.environ["DATABASE_URL"], min_size=1, reset=reset, kwargs={"prepare_threshold": None, "autocommit": True}) as pool:
    for n in range(1, 4):
        with pool.connection() as conn:
            if conn.execute("select name from item where id = %s", (n,)).fetchone() != (f"item {n}",):
                sys.exit(f"wrong: item {n}")
