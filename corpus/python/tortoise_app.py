"""Tortoise ORM on asyncpg, as its examples connect."""
import asyncio
import os
import sys

from tortoise import Tortoise, fields
from tortoise.models import Model


class Item(Model):
    id = fields.IntField(primary_key=True)
    name = fields.TextField()

    class Meta:
        table = "item"


async def main():
    url = os.environ["DATABASE_URL"].replace("postgres://", "asyncpg://").replace("?sslmode=disable", "?minsize=2&maxsize=2")
    if sys.argv[1] == "correct":
        url += "&statement_cache_size=0"
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

    for n in range(1, 11):
        await asyncio.gather(ask(n), ask(n + 100))
    await Tortoise.close_connections()
    return faults


sys.exit(1 if asyncio.run(main()) else 0)
