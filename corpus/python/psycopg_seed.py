"""A random sample that is to be the same every time: drawn after setseed (faulty), or by a hash of the ids (correct)."""
import os
import sys

import psycopg

faulty = sys.argv[1] == "faulty"
conn = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None)


def sample():
    if faulty:
        conn.execute("select setseed(0.25)")
        order = "random()"
    else:
        order = "md5('0.25 ' || id)"
    return conn.execute(f"select array(select id from item order by {order} limit 5)").fetchone()[0]


with conn:
    first, again = sample(), sample()
if first != again:
    sys.exit(f"wrong: the samples are {first} and {again}")
