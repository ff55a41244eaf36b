"""A migration as some tools run it: one connection holds a lock in a transaction, another one does the work."""
import os
import sys

import psycopg

url = os.environ["DATABASE_URL"]
with psycopg.connect(url, prepare_threshold=None) as guard, psycopg.connect(url, prepare_threshold=None) as work:
    guard.execute("select pg_advisory_xact_lock_shared(77)")
    worker = guard if sys.argv[1] == "correct" else work
    for n in range(1, 4):
        worker.execute("update item set name = name where id = %s", (n + 400,))
        if worker is work:
            work.commit()
    guard.commit()
