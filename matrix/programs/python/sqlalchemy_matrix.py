"""SQLAlchemy over asyncpg: each client asks its process's engine for a connection, as a web application's requests do."""
import asyncio
from uuid import uuid4

from client import CLIENTS, FIRST, OPERATIONS, RECIPE, URL, WORK, Wrong, expect, plan, say, turns, version
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

OPTIONS = {}
if RECIPE:
    OPTIONS = {"connect_args": {
        "statement_cache_size": 0, "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"__asyncpg_{uuid4()}__",
    }}


async def one(c, sql, **values):
    row = (await c.execute(text(sql), values)).fetchone()
    return row and (row[0] if len(row) == 1 else tuple(row))


async def statements(c, client, n):
    tenant, id, op, value = plan(client, n)

    async def name():
        expect(f"the name of item {id}", await one(c, "select name from items where id = :id", id=id), f"item {id}")

    async def owner():
        expect(f"the tenant of item {id}", await one(c, "select tenant from items where id = :id", id=id), tenant)

    for ask in turns(client, name, owner):
        await ask()
    await c.execute(text("insert into written (tenant, op, value) values (:tenant, :op, :value)"), {"tenant": tenant, "op": op, "value": value})
    expect("what was written", await one(c, "select value from written where tenant = :tenant and op = :op", tenant=tenant, op=op), value)


async def settings(c, client, n):
    tenant = plan(client, n)[0]
    if RECIPE:
        await c.execute(text("select set_config('app.tenant', :tenant, true)"), {"tenant": tenant})
    else:
        await c.execute(text(f"SET app.tenant TO '{tenant}'"))
        await c.commit()
    await scoped(c, client, n)


async def scoped(c, client, n):
    tenant, _, op, value = plan(client, n)
    expect("what it sees of documents", await one(c, "select count(*), min(tenant), max(tenant) from documents"), (10, tenant, tenant))
    await c.execute(text("insert into notes (op, value) values (:op, :value)"), {"op": op, "value": value})
    expect("what was written", await one(c, "select tenant, value from notes where op = :op", op=op), (tenant, value))
    expect("the setting", await one(c, "select current_setting('app.tenant', true)"), tenant)


async def run(engine, client):
    for n in range(OPERATIONS):
        try:
            async with engine.connect() as c:  # in a transaction, as everything is by default
                await {"statements": statements, "settings": settings}[WORK](c, client, n)
                await c.commit()
            say("right")
        except Wrong as e:
            say("wrong", e)
        except Exception as e:
            say("error", f"{type(e).__name__}: {e}")


async def main():
    version("SQLAlchemy")
    url = URL.replace("postgres://", "postgresql+asyncpg://").split("?")[0]
    engine = create_async_engine(url, pool_size=max(CLIENTS, 1), max_overflow=0, **OPTIONS)
    await asyncio.gather(*(run(engine, client) for client in range(FIRST, FIRST + CLIENTS)))


asyncio.run(main())
