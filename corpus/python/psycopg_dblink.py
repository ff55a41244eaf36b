"""A query of another database, over a named connection of dblink or with the connection in the call."""
import os
import sys

import psycopg

with psycopg.connect(os.environ["DIRECT_URL"], autocommit=True) as direct:
    direct.execute("create extension if not exists dblink")
    remote = psycopg.conninfo.make_conninfo(os.environ["DIRECT_URL"])
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None) as conn:
    try:
        if sys.argv[1] == "faulty":
            conn.execute("select dblink_connect('remote', %s)", (remote,))
            remote = "remote"
        name = conn.execute("select name from dblink(%s, 'select name from item where id = 7') as t(name text)", (remote,)).fetchone()[0]
    except psycopg.Error as e:
        name = str(e)
if name != "item 7":
    sys.exit(f"wrong: item 7 is {name}")
