"""COPY from a source that goes on after a wrong row; then the connection waits in the program's own pool."""
import os
import socket
import sys
import time

import psycopg

autocommit = sys.argv[1] == "faulty"


def wait_for_ready(fd):
    """Wait for the server's ReadyForQuery, as a source does that pauses, and leave it unread for psycopg."""
    with socket.socket(fileno=os.dup(fd)) as peek:
        peek.setblocking(True)
        while not peek.recv(65536, socket.MSG_PEEK).endswith(b"Z\0\0\0\5I" if autocommit else b"Z\0\0\0\5E"):
            pass


conn = psycopg.connect(os.environ["DATABASE_URL"], autocommit=autocommit, prepare_threshold=None)
try:
    with conn.cursor() as cur, cur.copy("copy note (id) from stdin") as copy:
        for _ in range(2000):
            copy.write("no number\n")  # libpq sends what it has of them, 8 kB at a time
        wait_for_ready(conn.fileno())  # the server has refused it, and psycopg has not looked yet
        copy.write("100\n")
except psycopg.DataError:
    if not autocommit:
        conn.rollback()
time.sleep(float(os.environ.get("CORPUS_SLOW", "1")))
conn.close()
