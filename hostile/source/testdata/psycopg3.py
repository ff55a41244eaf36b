import os

import psycopg


def ask(conn, value):
    return conn.execute("select set_config('app.where', %s, false)", [value]).fetchone()[0]  # here


with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as conn:
    print(ask(conn, "a"), type(conn.cursor()).__name__)
