"""Loads an extension's library, as clients of Apache AGE do, and uses it."""
import os
import sys

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None) as conn:
    if sys.argv[1] == "faulty":
        conn.execute("load 'auto_explain'")
        print(conn.execute("show auto_explain.log_analyze").fetchone()[0])
    else:  # session_preload_libraries, set once by ALTER DATABASE
        conn.execute("select 1")
