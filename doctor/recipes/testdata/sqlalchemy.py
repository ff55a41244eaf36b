"""Asks for several tenants at once: sqlalchemy.py FORM OPERATIONS. See recipes_test.go."""
import asyncio
import json
import os
import sys

import recipe
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

FORM, OPERATIONS = sys.argv[1], int(sys.argv[2])
TENANTS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(1, 5)]
URL = os.environ["DATABASE_URL"].replace("postgres://", "postgresql+asyncpg://").replace("sslmode=", "ssl=")


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Note(Base):
    __tablename__ = "note"
    told: Mapped[str] = mapped_column(primary_key=True)


async def work(session, tenant, n):
    item = await session.get(Item, 1 + n % 50)
    if n % 4 == 0:
        await session.execute(insert(Note.__table__).values(told=text(f"'{tenant}'::uuid")))
    return item and item.name


async def one(engine, n):
    tenant = TENANTS[n % 4]
    if FORM == "session":  # what the recipe replaces
        async with AsyncSession(engine) as session:
            await session.execute(text("select set_config('app.tenant', :tenant, false)"), {"tenant": tenant})
            await session.commit()
            seen = await work(session, tenant, n)
            await session.commit()
    else:
        async with recipe.tenant_session(engine, tenant) as session, session.begin():
            seen = await work(session, tenant, n)
    return seen == f"item {1 + n % 50} of {tenant}"


async def main():
    engine = create_async_engine(URL, pool_size=8) if FORM == "defaults" else recipe.create_engine(URL, pool_size=8)
    told = {"operations": 0, "wrong": 0, "failed": 0, "first": ""}
    numbers = iter(range(OPERATIONS))

    async def worker():
        for n in numbers:
            told["operations"] += 1
            try:
                if not await one(engine, n):
                    told["wrong"] += 1
            except Exception as e:
                told["failed"] += 1
                told["first"] = told["first"] or str(e)

    await asyncio.gather(*(worker() for _ in range(8)))
    if FORM == "recipe":
        async with AsyncSession(engine) as session:  # without a tenant
            told["wrong"] += len((await session.execute(select(Item.id))).all())
    await engine.dispose()
    print(json.dumps(told))


asyncio.run(main())
