import asyncio
import os

import asyncpg


async def ask(pool, value):
    return await pool.fetchval("select set_config('app.where', $1, false)", value)  # here


async def main():
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=1, statement_cache_size=0) as pool:
        print(await ask(pool, "a"), await pool.execute("select 1"), asyncio.iscoroutinefunction(asyncpg.Connection.execute))


asyncio.run(main())
