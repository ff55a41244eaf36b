"""A timeout for one transaction. Left behind (faulty), or put back before the end: to what it was (back), or to what it is for new connections."""
import os
import sys

import psycopg2

PUT_BACK = {"back": "set statement_timeout = %s", "default": "set statement_timeout to default", "reset": "reset statement_timeout"}

form = sys.argv[1]
conn = psycopg2.connect(os.environ["DATABASE_URL"])
for n in range(1, 7):
    with conn, conn.cursor() as cur:
        cur.execute("show statement_timeout")
        (before,) = cur.fetchone()
        cur.execute("set statement_timeout = '5s'")
        cur.execute("select name from item where id = %s", (n,))
        if form in PUT_BACK:
            cur.execute(PUT_BACK[form], (before,) if form == "back" else None)
    if before != "0":
        sys.exit(f"wrong: a transaction begins with a timeout of {before}")
