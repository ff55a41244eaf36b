"""PgQueuer on asyncpg: a worker that takes one job."""
import asyncio
import os
import sys

import asyncpg
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver


async def main():
    direct = await asyncpg.connect(os.environ["DIRECT_URL"])
    await Queries(AsyncpgDriver(direct)).install()
    url = os.environ["DIRECT_URL" if sys.argv[1] == "direct" else "DATABASE_URL"]
    worker = await asyncpg.connect(url, statement_cache_size=0)
    producer = await asyncpg.connect(os.environ["DATABASE_URL"], statement_cache_size=0)
    pgq = PgQueuer(AsyncpgDriver(worker))
    seen = []

    @pgq.entrypoint("greet")
    async def greet(job):
        seen.append(job.payload)
        pgq.shutdown.set()

    await Queries(AsyncpgDriver(producer)).enqueue(["greet"], [b"hello"], [0])
    await asyncio.wait_for(pgq.run(), 20)
    for conn in (worker, producer, direct):
        await conn.close()
    if seen != [b"hello"]:
        print(f"wrong: ran {seen}")
        return 1
    return 0


sys.exit(asyncio.run(main()))
