"""langgraph's checkpointer, as its docs make it, and with a pool of one's own."""
import os
import sys

import psycopg
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool


def save(saver):
    for n in range(4):
        config = {"configurable": {"thread_id": str(n), "checkpoint_ns": ""}}
        saver.put(config, empty_checkpoint(), {"step": n}, {})
        if saver.get_tuple(config).metadata["step"] != n:
            sys.exit(f"wrong: thread {n} is another's")


with PostgresSaver.from_conn_string(os.environ["DIRECT_URL"]) as saver:
    saver.setup()
try:
    if sys.argv[1] == "default":
        with PostgresSaver.from_conn_string(os.environ["DATABASE_URL"]) as saver:
            save(saver)
    else:
        options = {"prepare_threshold": None, "autocommit": True, "row_factory": dict_row}
        with ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=1, kwargs=options) as pool:
            save(PostgresSaver(pool))
except psycopg.Error as e:
    sys.exit(f"wrong: {e}")
