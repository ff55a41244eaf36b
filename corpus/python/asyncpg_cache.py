"""A pool of two connections. asyncpg prepares every query under a name and keeps it."""
import asyncio
import os
import sys

import asyncpg

OPTIONS = {"default": {}, "correct": {"statement_cache_size": 0}}


async def main():
    faults = 0
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=2, max_size=2, **OPTIONS[sys.argv[1]])

    async def ask(n):
        nonlocal faults
        try:
            name = await pool.fetchval("select name from item where id = $1", n)
        except asyncpg.PostgresError as e:
            name = f"{type(e).__name__}: {e}"
        if name != f"item {n}":
            print(f"wrong: item {n} is {name!r}")
            faults += 1

    for n in range(1, 11):
        await asyncio.gather(ask(n), ask(n + 100))
    await pool.close()
    return faults


sys.exit(1 if asyncio.run(main()) else 0)
