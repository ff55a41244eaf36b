"""aiopg: a pool, a tenant on one of its connections, which are always in autocommit, and news."""
import asyncio
import os
import sys

import aiopg

FORM = sys.argv[1]


async def listen(url):
    async with aiopg.connect(url) as conn, conn.cursor() as cur:
        await cur.execute("listen news")
        if FORM == "listen":
            return
        await cur.execute("select pg_notify('news', 'heard')")
        heard = (await asyncio.wait_for(conn.notifies.get(), 20)).payload
        if heard != "heard":
            sys.exit(f"wrong: heard {heard}")


async def main():
    if FORM == "listen":
        await listen(os.environ["DATABASE_URL"])
        return 250
    async with aiopg.create_pool(os.environ["DATABASE_URL"], maxsize=1) as pool, pool.acquire() as conn, conn.cursor() as cur:
        local = FORM == "correct"
        if local:
            await cur.execute("begin")
        await cur.execute("select set_config('app.tenant', 'tenant 1', %s)", (local,))
        await cur.execute("select count(*) from item where tenant = current_setting('app.tenant', true)")
        (n,) = await cur.fetchone()
        if local:
            await cur.execute("commit")
    if FORM == "correct":
        await listen(os.environ["DIRECT_URL"])
    return n


if (n := asyncio.run(main())) != 250:
    sys.exit(f"wrong: the tenant has {n} items")
