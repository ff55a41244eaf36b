"""libpq itself: eight queries in pipeline mode, a Sync after each, or one for all."""
import ctypes
import ctypes.util
import os
import sys

pq = ctypes.CDLL(ctypes.util.find_library("pq"))
for name in ("PQconnectdb", "PQgetResult"):
    getattr(pq, name).restype = ctypes.c_void_p
for name in ("PQerrorMessage", "PQgetvalue", "PQresultErrorMessage"):
    getattr(pq, name).restype = ctypes.c_char_p
COMMAND_OK, TUPLES_OK, PIPELINE_SYNC = 1, 2, 10

form, first = sys.argv[1], int(os.environ.get("CORPUS_FIRST", "1"))
padding, work = b"x" * int(os.environ.get("CORPUS_BYTES", "0")), str(int(os.environ.get("CORPUS_MS", "0")) / 1000).encode()
conn = ctypes.c_void_p(pq.PQconnectdb(os.environ["DATABASE_URL"].encode()))
if pq.PQstatus(conn) != 0:
    sys.exit(f"wrong: {pq.PQerrorMessage(conn).decode()}")
pq.PQenterPipelineMode(conn)
for n in range(8):
    values = (ctypes.c_char_p * 3)(str(first + n).encode(), padding, work)
    sql = b"select name from item where id = $1::int and length($2) >= 0 and pg_sleep($3) is not null"
    if not pq.PQsendQueryParams(conn, sql, 3, None, values, None, None, 0):
        sys.exit(f"wrong: {pq.PQerrorMessage(conn).decode()}")
    if form == "faulty" or n == 7:
        pq.PQpipelineSync(conn)
faults = syncs = got = 0
while syncs < (8 if form == "faulty" else 1):
    result = pq.PQgetResult(conn)
    if not result:  # the end of one query's results
        if pq.PQstatus(conn) != 0:
            sys.exit(f"wrong: {pq.PQerrorMessage(conn).decode()}")
        continue
    result = ctypes.c_void_p(result)
    status = pq.PQresultStatus(result)
    if status == PIPELINE_SYNC:
        syncs += 1
    else:
        name = pq.PQgetvalue(result, 0, 0).decode() if status == TUPLES_OK and pq.PQntuples(result) else pq.PQresultErrorMessage(result).decode() or "nothing"
        if name != f"item {first + got}":
            print(f"wrong: item {first + got} is {name}")
            faults += 1
        got += 1
    pq.PQclear(result)
sys.exit(1 if faults else 0)
