"""aiopg: a pool, and a tenant on one of its connections, which are always in autocommit."""
import asyncio
import os
import sys

import aiopg


async def main(form):
    async with aiopg.create_pool(os.environ["DATABASE_URL"], maxsize=1) as pool, pool.acquire() as conn, conn.cursor() as cur:
        local = form == "correct"
        if local:
            await cur.execute("begin")
        await cur.execute("select set_config('app.tenant', 'tenant 1', %s)", (local,))
        await cur.execute("select count(*) from item where tenant = current_setting('app.tenant', true)")
        (n,) = await cur.fetchone()
        if local:
            await cur.execute("commit")
    return n


if (n := asyncio.run(main(sys.argv[1]))) != 250:
    sys.exit(f"wrong: the tenant has {n} items")
