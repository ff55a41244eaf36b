"""Ids are loaded into a temporary table first and joined afterwards."""
import os
import sys

import psycopg

faulty = sys.argv[1] == "faulty"
conn = psycopg.connect(os.environ["DATABASE_URL"], autocommit=faulty, prepare_threshold=None)
with conn:
    conn.execute("create temp table wanted (id int) " + ("" if faulty else "on commit drop"))
    with conn.cursor() as cur:
        cur.executemany("insert into wanted values (%s)", [(n,) for n in (3, 5, 8)])
        names = cur.execute("select name from item join wanted using (id) order by id").fetchall()
if names != [("item 3",), ("item 5",), ("item 8",)]:
    sys.exit(f"wrong: {names}")
