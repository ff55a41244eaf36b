"""A helper function in pg_temp: made once for each connection (faulty), or in the transaction that uses it and dropped there (correct)."""
import os
import sys

import psycopg

MAKE = """create or replace function pg_temp.slug(title text) returns text language sql
    as $$ select lower(replace(title, ' ', '-')) $$"""

correct = sys.argv[1] == "correct"
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None) as conn:
    if not correct:
        conn.execute(MAKE)
    for n in range(1, 7):
        try:
            with conn.transaction():
                if correct:
                    conn.execute(MAKE)
                (slug,) = conn.execute("select pg_temp.slug(name) from item where id = %s", (n,)).fetchone()
                if correct:
                    conn.execute("drop function pg_temp.slug(text)")
        except psycopg.Error as err:
            sys.exit(f"wrong: {err}")
        if slug != f"item-{n}":
            sys.exit(f"wrong: item {n} is {slug}")
