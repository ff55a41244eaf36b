"""A watchdog that ends a query of another connection."""
import os
import sys
import threading

import psycopg

options = {"autocommit": True, "prepare_threshold": None}
worker = psycopg.connect(os.environ["DATABASE_URL"], **options)
watchdog = psycopg.connect(os.environ["DATABASE_URL"], **options)
pid = worker.execute("select pg_backend_pid()").fetchone()[0]
said = []


def work():
    try:
        worker.execute("select pg_sleep(1)")
        said.append("ran to its end")
    except psycopg.errors.QueryCanceled:
        pass


thread = threading.Thread(target=work)
thread.start()
while True:  # until the server has the query
    with psycopg.connect(os.environ["DIRECT_URL"]) as direct:
        if direct.execute("select 1 from pg_stat_activity where datname = current_database() and query = 'select pg_sleep(1)' and state = 'active'").fetchone():
            break
try:
    if sys.argv[1] == "correct":
        worker.cancel_safe()
    else:
        watchdog.execute("select pg_cancel_backend(%s)", (pid,))
except psycopg.errors.QueryCanceled:
    said.append("went on, and the watchdog itself was cancelled")
thread.join()
for word in said:
    print(f"wrong: the query {word}")
sys.exit(1 if said else 0)
