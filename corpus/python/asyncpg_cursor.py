"""A cursor of asyncpg: its statement has a name, whatever statement_cache_size is."""
import asyncio
import os
import sys

import asyncpg

SQL = "select id from item where id <= $1 order by id"


async def rows(conn):
    if sys.argv[1] == "correct":
        statement = await conn.prepare(SQL, name="")
        return statement.cursor(20, prefetch=5)
    return conn.cursor(SQL, 20, prefetch=5)


async def main():
    conn = await asyncpg.connect(os.environ["DATABASE_URL"], statement_cache_size=0)
    try:
        async with conn.transaction():
            found = [row["id"] async for row in await rows(conn)]
    except asyncpg.PostgresError as e:
        found = f"{type(e).__name__}: {e}"
    await conn.close()
    if found != list(range(1, 21)):
        print(f"wrong: the first twenty are {found!r}")
        return 1
    return 0


sys.exit(asyncio.run(main()))
