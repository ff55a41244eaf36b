"""Celery's result backend in the database, by SQLAlchemy on psycopg."""
import os
import sys

from billiard import get_context
from celery import Celery, states

tasks = int(os.environ.get("CORPUS_TASKS", "10"))
args = {} if sys.argv[1] == "default" else {"prepare_threshold": None}
app = Celery(
    "corpus",
    broker="memory://",
    backend=os.environ["DATABASE_URL"].replace("postgres://", "db+postgresql+psycopg://"),
    database_engine_options={"connect_args": args, "pool_size": 1, "max_overflow": 0},
    result_backend_max_retries=0,
    result_backend_always_retry=False,
)


def work():
    faults = 0

    def attempt(n, what):
        nonlocal faults
        try:
            answer = what(f"task {n}")
        except Exception as e:
            answer = repr(e)
        if answer != n * n:
            print(f"wrong: task {n} returned {answer}", flush=True)
            faults += 1

    for n in range(tasks):  # what a worker does
        attempt(n, lambda task: backend.store_result(task, n * n, states.SUCCESS))
    for n in range(tasks):
        attempt(n, backend.get_result)
    sys.exit(1 if faults else 0)


backend = app.backend  # made before the fork, as a worker does
# A process as Celery's worker forks them: only these keep connections.
process = get_context("fork").Process(target=work)
process.start()
process.join()
sys.exit(process.exitcode)
