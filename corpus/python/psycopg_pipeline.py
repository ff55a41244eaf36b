"""psycopg's pipeline mode, and executemany(), which uses it: psycopg waits after each Sync."""
import os
import sys

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None) as conn:
    with conn.pipeline() as p:
        cursors = []
        for n in range(1, 9):
            cursors.append(conn.execute("select name from item where id = %s", (n,)))
            if n % 3 == 0:
                p.sync()
    faults = sum(cur.fetchone() != (f"item {n}",) for n, cur in enumerate(cursors, 1))
    conn.cursor().executemany("update item set name = name where id = %s", [(n,) for n in range(1, 9)])
sys.exit(f"wrong: {faults} of 8" if faults else 0)
