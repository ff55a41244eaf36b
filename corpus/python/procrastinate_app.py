"""Procrastinate: adds a job and works on it."""
import asyncio
import os
import sys

import procrastinate

FORM = sys.argv[1]
kwargs = {} if FORM == "default" else {"kwargs": {"prepare_threshold": None}}
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["DATABASE_URL"], min_size=1, max_size=2, **kwargs))
seen = []


@app.task(name="greet")
async def greet(n):
    seen.append(n)


async def main():
    direct = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["DIRECT_URL"], min_size=1, max_size=1))
    async with direct.open_async():
        try:
            await direct.schema_manager.apply_schema_async()
        except procrastinate.exceptions.ConnectorException:
            if not await direct.check_connection_async():  # another copy has made it
                raise
    async with app.open_async():
        for n in range(8):
            await greet.defer_async(n=n)
        await app.run_worker_async(wait=False, listen_notify=FORM == "listen", install_signal_handlers=False)


asyncio.run(main())
if sorted(seen) != list(range(8)):
    sys.exit(f"wrong: of eight jobs ran {seen}")
