"""A request works with a role of fewer rights."""
import os
import sys

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None) as conn:
    if sys.argv[1] == "faulty":
        conn.execute("set role corpus_reader")
        who = conn.execute("select current_user").fetchone()[0]
    else:
        with conn.transaction():
            conn.execute("set local role corpus_reader")
            who = conn.execute("select current_user").fetchone()[0]
if who != "corpus_reader":
    sys.exit(f"wrong: the request ran as {who}")
