"""psycopg: how serializable a report's transactions are, and a time limit."""
import os
import sys

import psycopg

FORM = sys.argv[1]
limit = {"options": "-c statement_timeout=5s"} if FORM == "options" else {}
try:
    conn = psycopg.connect(os.environ["DATABASE_URL"], autocommit=FORM == "set", prepare_threshold=None, **limit)
except psycopg.OperationalError as e:
    sys.exit(f"wrong: {e}")
if FORM == "set":
    conn.execute("set session characteristics as transaction isolation level serializable, read only")
elif FORM == "correct":  # psycopg says them with BEGIN
    conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    conn.read_only = True
with conn.transaction():
    seen = conn.execute("select current_setting('transaction_isolation'), current_setting('transaction_read_only')").fetchone()
    if FORM == "correct":
        conn.execute("select set_config('statement_timeout', '5s', true)")
    rows = conn.execute("select count(*) from item").fetchone()
conn.close()
if rows != (500,) or FORM == "correct" and seen != ("serializable", "on"):
    sys.exit(f"wrong: {rows} {seen}")
