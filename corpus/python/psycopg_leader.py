"""An election: the leader holds an advisory lock of its session, or a lease in a table."""
import os
import sys

import psycopg

LEASE = sys.argv[1] == "correct"


def candidate(name):
    conn = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None)

    def leads():
        if not LEASE:
            return conn.execute("select pg_try_advisory_lock(4711)").fetchone()[0]
        return bool(
            conn.execute(
                """insert into leader values (1, %(name)s, now() + interval '1 minute')
                on conflict (id) do update set name = %(name)s, until = now() + interval '1 minute'
                where leader.name = %(name)s or leader.until < now() returning id""",
                {"name": name},
            ).fetchone()
        )

    return leads


with psycopg.connect(os.environ["DIRECT_URL"], autocommit=True) as direct:
    direct.execute("create table if not exists leader (id int primary key, name text, until timestamptz)")
a, b = candidate("a"), candidate("b")
leaders = set()
for name in "abba":
    if {"a": a, "b": b}[name]():
        leaders.add(name)
if leaders != {"a"}:
    sys.exit(f"wrong: leaders are {sorted(leaders)}")
