"""psycopg's defaults with errors and DDL between: after a rollback it sends DEALLOCATE ALL by itself."""
import os
import sys

import psycopg

options = {"prepare_threshold": None} if sys.argv[1] == "correct" else {}
with psycopg.connect(os.environ["DATABASE_URL"], **options) as conn:
    for _ in range(2):
        for n in range(1, 8):
            (name,) = conn.execute("select name from item where id = %s", (n,)).fetchone()
            conn.commit()
            if name != f"item {n}":
                sys.exit(f"wrong: item {n} is {name!r}")
        conn.execute("create table scratch (id int)")
        conn.execute("drop table scratch")
        try:
            conn.execute("select 1 / 0")
        except psycopg.errors.DivisionByZero:
            conn.rollback()
