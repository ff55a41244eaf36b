"""A report, on a connection of a pool that is made read-only for it, as psycopg2 offers; and a time limit."""
import os
import sys

import psycopg2.pool

FORM = sys.argv[1]
limit = {"options": "-c statement_timeout=5s"} if FORM == "options" else {}
try:
    pool = psycopg2.pool.SimpleConnectionPool(1, 1, os.environ["DATABASE_URL"], **limit)
except psycopg2.OperationalError as e:
    sys.exit(f"wrong: {e}")
conn = pool.getconn()
if FORM == "faulty":
    conn.set_session(readonly=True, autocommit=True)
elif FORM == "isolation":
    conn.set_session(isolation_level="SERIALIZABLE", autocommit=True)
elif FORM == "correct":  # psycopg2 then says it with each BEGIN
    conn.set_session(readonly=True, isolation_level="SERIALIZABLE")
with conn.cursor() as cur:
    if FORM == "correct":
        cur.execute("select set_config('statement_timeout', '5s', true)")
    cur.execute("select count(*), current_setting('transaction_isolation') from item")
    rows, isolation = cur.fetchone()
    if rows != 500 or FORM == "correct" and isolation != "serializable":
        sys.exit(f"wrong: {rows} items, {isolation}")
conn.rollback()
pool.putconn(conn)
pool.closeall()
