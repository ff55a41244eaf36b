"""asyncpg: a schema for a tenant by server_settings, or in the transaction."""
import asyncio
import os
import sys

import asyncpg

FORM = sys.argv[1]


async def main():
    settings = {"server_settings": {"search_path": "tenant_b"}} if FORM == "settings" else {}
    try:
        conn = await asyncpg.connect(os.environ["DATABASE_URL"], statement_cache_size=0, **settings)
    except asyncpg.PostgresError as e:
        return repr(e)
    async with conn.transaction():
        if FORM == "correct":
            await conn.execute("select set_config($1, $2, true)", "search_path", "tenant_b")
        n = await conn.fetchval("select count(*) from item")
    await conn.close()
    return n


if (n := asyncio.run(main())) != 1:
    sys.exit(f"wrong: {n} items, of another schema")
