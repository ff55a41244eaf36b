"""One query through libpq's pipeline mode by Flush, and then the program waits for other work."""
import os
import select
import sys
import time

import psycopg
from psycopg import pq

conn = pq.PGconn.connect(os.environ["DATABASE_URL"].encode())
conn.enter_pipeline_mode()
conn.send_query_params(b"select name from item where id = $1", [b"7"])
if sys.argv[1] == "correct":
    conn.pipeline_sync()
else:
    conn.send_flush_request()
conn.flush()
conn.consume_input()
while conn.is_busy():
    select.select([conn.socket], [], [])
    conn.consume_input()
name = conn.get_result().get_value(0, 0)
time.sleep(float(os.environ.get("CORPUS_SLOW", "1")))
if name != b"item 7":
    sys.exit(f"wrong: item 7 is {name!r}")
