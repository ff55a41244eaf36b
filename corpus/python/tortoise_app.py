"""Tortoise ORM on asyncpg, as its examples connect; a tenant, and a schema."""
import asyncio
import os
import sys

from tortoise import Tortoise, connections, fields
from tortoise.models import Model
from tortoise.transactions import in_transaction

FORM = sys.argv[1]
TENANT = "select set_config('app.tenant', 'tenant 1', $1)"
COUNT = "select count(*) as n from item where tenant = current_setting('app.tenant', true)"


class Item(Model):
    id = fields.IntField(primary_key=True)
    name = fields.TextField()

    class Meta:
        table = "item"


class Other(Model):
    id = fields.IntField(primary_key=True)
    name = fields.TextField()

    class Meta:
        table = "item"
        schema = "tenant_b"


async def tenant():
    if FORM == "set":
        db = connections.get("default")
        await db.execute_query(TENANT, [False])
        return (await db.execute_query_dict(COUNT))[0]["n"]
    async with in_transaction() as tx:
        await tx.execute_query(TENANT, [True])
        return (await tx.execute_query_dict(COUNT))[0]["n"]


async def main():
    url = os.environ["DATABASE_URL"].replace("postgres://", "asyncpg://").replace("?sslmode=disable", "?minsize=2&maxsize=2")
    if FORM != "default":
        url += "&statement_cache_size=0"
    if FORM == "schema":
        url += "&schema=tenant_b"
    await Tortoise.init(db_url=url, modules={"models": ["__main__"]})
    faults = 0

    async def ask(n):
        nonlocal faults
        try:
            name = (await Item.get(id=n)).name
        except Exception as e:
            name = repr(e)
        if name != f"item {n}":
            print(f"wrong: item {n} is {name}")
            faults += 1

    if FORM == "schema":
        try:
            name = (await Item.get(id=1)).name
        except Exception as e:
            name = repr(e)
    else:
        for n in range(1, 11):
            await asyncio.gather(ask(n), ask(n + 100))
        name = (await Other.get(id=1)).name if FORM == "correct" else "item 1 of tenant b"
    if name != "item 1 of tenant b":
        print(f"wrong: tenant b's item is {name}")
        faults += 1
    if FORM in ("set", "correct") and (n := await tenant()) != 250:
        print(f"wrong: the tenant has {n} items")
        faults += 1
    await Tortoise.close_connections()
    return faults


sys.exit(1 if asyncio.run(main()) else 0)
