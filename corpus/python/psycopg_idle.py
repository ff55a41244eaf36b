"""Reads, calls somebody's slow API, and writes; psycopg begins a transaction by itself."""
import os
import sys
import time

import psycopg


def slow_call():
    time.sleep(float(os.environ.get("CORPUS_SLOW", "1")))


with psycopg.connect(os.environ["DATABASE_URL"], prepare_threshold=None) as conn:
    name = conn.execute("select name from item where id = 7").fetchone()[0]
    if sys.argv[1] == "correct":
        conn.commit()
    slow_call()
    conn.execute("update item set name = %s where id = 7", (name,))
