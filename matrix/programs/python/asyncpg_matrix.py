"""asyncpg: each client has a connection of its own, and opens another when that one is closed."""
import asyncio

import asyncpg
from client import CLIENTS, FIRST, OPERATIONS, RECIPE, URL, WORK, Wrong, expect, plan, say, turns, version

OPTIONS = {"statement_cache_size": 0} if RECIPE else {}


async def statements(c, client, n):
    tenant, id, op, value = plan(client, n)

    async def name():
        expect(f"the name of item {id}", await c.fetchval("select name from items where id = $1", id), f"item {id}")

    async def owner():
        expect(f"the tenant of item {id}", await c.fetchval("select tenant from items where id = $1", id), tenant)

    for ask in turns(client, name, owner):
        await ask()
    await c.execute("insert into written (tenant, op, value) values ($1, $2, $3)", tenant, op, value)
    expect("what was written", await c.fetchval("select value from written where tenant = $1 and op = $2", tenant, op), value)


async def settings(c, client, n):
    tenant = plan(client, n)[0]
    if not RECIPE:
        await c.execute(f"SET app.tenant TO '{tenant}'")
        await scoped(c, client, n)
        return
    async with c.transaction():
        await c.execute("select set_config('app.tenant', $1, true)", tenant)
        await scoped(c, client, n)


async def scoped(c, client, n):
    tenant, _, op, value = plan(client, n)
    row = await c.fetchrow("select count(*), min(tenant), max(tenant) from documents")
    expect("what it sees of documents", tuple(row), (10, tenant, tenant))
    await c.execute("insert into notes (op, value) values ($1, $2)", op, value)
    row = await c.fetchrow("select tenant, value from notes where op = $1", op)
    expect("what was written", row and tuple(row), (tenant, value))
    expect("the setting", await c.fetchval("select current_setting('app.tenant', true)"), tenant)


async def run(client):
    c = None
    for n in range(OPERATIONS):
        try:
            if c is None or c.is_closed():
                c = await asyncpg.connect(URL, **OPTIONS)
            await {"statements": statements, "settings": settings}[WORK](c, client, n)
            say("right")
        except Wrong as e:
            say("wrong", e)
        except Exception as e:
            say("error", f"{type(e).__name__}: {e}")
    if c is not None:
        c.terminate()


async def main():
    version("asyncpg")
    await asyncio.gather(*(run(client) for client in range(FIRST, FIRST + CLIENTS)))


asyncio.run(main())
