"""Writes with tries, and jobs from a table, on a pooler's bad day (prove --faults)."""
import os
import sys

import psycopg

form = sys.argv[1]
CLAIM = "delete from job where n in (select n from job order by n limit 1 for update skip locked) returning n"

direct = psycopg.connect(os.environ["DIRECT_URL"], autocommit=True)
direct.execute("create table payment (n int%s)" % (" primary key" if form == "correct" else ""))
direct.execute("create table job as select n from generate_series(1, 40) n")
conn = None


def again(step, *args):
    """Does a step until it succeeds, on a new connection where the old one is closed."""
    global conn
    for _ in range(9):
        try:
            if conn is None or conn.closed:
                conn = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None)
            return step(*args)
        # InternalError: the server's farewell came right behind the answer to COMMIT.
        except (psycopg.OperationalError, psycopg.InternalError):
            if conn and conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                conn.close()  # a ROLLBACK that was cancelled, too
    sys.exit("nothing succeeds any more")


def pay(n):
    conn.execute("insert into payment values (%s)" + (" on conflict do nothing" if form == "correct" else ""), (n,))


def work():
    if form == "correct":
        with conn.transaction():
            row = conn.execute(CLAIM).fetchone()
            if row:
                conn.execute("insert into note (body) values (%s)", (f"job {row[0]}",))
    else:
        row = conn.execute(CLAIM).fetchone()
        if row:
            conn.execute("insert into note (body) values (%s)", (f"job {row[0]}",))
    return row


if form in ("twice", "correct"):
    for i in range(40):
        again(pay, i)
if form in ("job", "correct"):
    while again(work):
        pass
faults = 0
(twice,) = direct.execute("select count(*) from (select n from payment group by n having count(*) > 1) x").fetchone()
if twice:
    print(f"wrong: {twice} payments twice")
    faults += 1
(done,) = direct.execute("select count(distinct body) from note where body like 'job %'").fetchone()
if form != "twice" and done < 40:
    print(f"wrong: {40 - done} jobs were never done")
    faults += 1
sys.exit(1 if faults else 0)
