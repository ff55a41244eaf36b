import asyncio
import os
from uuid import uuid4

import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

ask = sqlalchemy.text("select set_config(:name, :value, false), 'app.where', 'app.later'")
url = sqlalchemy.make_url(os.environ["DATABASE_URL"])

engine = sqlalchemy.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
with engine.connect() as conn:
    print(conn.execute(sqlalchemy.text("select set_config('app.where', :value, false)"), {"value": "a"}).scalar())  # here


async def main():
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg").difference_update_query(["sslmode"]),
        isolation_level="AUTOCOMMIT",
        connect_args={"statement_cache_size": 0, "prepared_statement_name_func": lambda: f"__asyncpg_{uuid4()}__"},
    )
    async with AsyncSession(engine) as session:
        result = await session.execute(sqlalchemy.text("select set_config('app.later', :value, false)"), {"value": "a"})  # there
        print(result.scalar())
    await engine.dispose()


asyncio.run(main())
