"""A report, on a connection of a pool that is made read-only for it, as psycopg2 offers."""
import os
import sys

import psycopg2.pool

pool = psycopg2.pool.SimpleConnectionPool(1, 1, os.environ["DATABASE_URL"])
conn = pool.getconn()
if sys.argv[1] == "faulty":
    conn.set_session(readonly=True, autocommit=True)
else:  # psycopg2 then says it with each BEGIN
    conn.set_session(readonly=True)
with conn.cursor() as cur:
    cur.execute("select count(*) from item")
    if cur.fetchone() != (500,):
        sys.exit("wrong: not all items")
conn.rollback()
pool.putconn(conn)
pool.closeall()
