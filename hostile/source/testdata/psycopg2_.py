import os

import psycopg2
import psycopg2.extras

conn = psycopg2.connect(os.environ["DATABASE_URL"])
conn.autocommit = True
with conn.cursor() as cur:
    cur.execute("select set_config('app.where', %s, false)", ["a"])  # here
    print(cur.fetchone()[0], type(cur).__name__, isinstance(cur, psycopg2.extensions.cursor))
with conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cur:
    cur.execute("select set_config('app.dict', %s, false) as x", ["a"])  # there
    print(cur.fetchone())
conn.close()
