"""The application that this project began with: SQLAlchemy on asyncpg, a tenant per session."""
import asyncio
import os
import sys
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

FORM = sys.argv[1]
TENANT = "tenant 1"
WORKING = {
    "connect_args": {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"__asyncpg_{uuid4()}__",
    },
}
OPTIONS = {
    "default": {},
    "cache-0": {"connect_args": {"statement_cache_size": 0}},
    "set": WORKING,  # statements are in order now, the tenant is not
    "correct": WORKING,
}


async def items(engine, n):
    async with AsyncSession(engine) as session:
        if FORM == "set":
            await session.execute(text(f"SET app.current_tenant_id TO '{TENANT}'"))
            await session.commit()
        if FORM == "correct":
            await session.execute(text("select set_config('app.current_tenant_id', :tenant, true)"), {"tenant": TENANT})
        if FORM in ("set", "correct"):
            where = "tenant = current_setting('app.current_tenant_id', true) and id > :n"
        else:
            where = f"tenant = '{TENANT}' and id > :n"
        rows = await session.scalars(text(f"select id from item where {where} order by id limit 3"), {"n": n})
        return list(rows)


async def main():
    url = os.environ["DATABASE_URL"].replace("postgres://", "postgresql+asyncpg://").replace("sslmode=", "ssl=")
    engine = create_async_engine(url, **OPTIONS[FORM])
    faults = 0
    for _ in range(6):
        for answer in await asyncio.gather(items(engine, 0), items(engine, 0), return_exceptions=True):
            if isinstance(answer, DBAPIError):
                answer = answer.orig
            if answer != [1, 3, 5]:
                print(f"wrong: the first items of {TENANT} are {answer!r}")
                faults += 1
    await engine.dispose()
    return faults


sys.exit(1 if asyncio.run(main()) else 0)
