"""Two connections, each with a query that it asks all day. psycopg prepares one that comes for the sixth time."""
import os
import sys

import psycopg

OPTIONS = {"default": {}, "correct": {"prepare_threshold": None}}

connections = [psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, **OPTIONS[sys.argv[1]]) for _ in range(2)]
faults = 0
for n in range(1, 11):
    for c, column in zip(connections, ("name", "tenant")):
        try:
            answer = c.execute(f"select {column} from item where id = %s", (n,)).fetchone()[0]
        except psycopg.Error as e:
            answer = str(e)
        if answer != {"name": f"item {n}", "tenant": f"tenant {n % 2}"}[column]:
            print(f"wrong: the {column} of item {n} is {answer!r}")
            faults += 1
sys.exit(1 if faults else 0)
