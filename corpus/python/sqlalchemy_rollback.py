"""A tenant that is set for the session and reset at the end; but a rollback comes after the reset, and undoes it."""
import os
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

LOCAL = sys.argv[1] == "correct"
url = os.environ["DATABASE_URL"].replace("postgres://", "postgresql+psycopg://")
engine = create_engine(url, pool_size=1, max_overflow=0, connect_args={"prepare_threshold": None})


def request(tenant):
    with Session(engine) as session:
        session.execute(text("select set_config('app.tenant', :tenant, :local)"), {"tenant": tenant, "local": LOCAL})
        if not LOCAL:
            session.commit()
        try:
            return session.scalar(text("select count(*) from item where tenant = current_setting('app.tenant', true)"))
        finally:
            if not LOCAL:
                session.execute(text("select set_config('app.tenant', '', false)"))  # closing the session rolls back


faults = 0
for tenant in ("tenant 0", "tenant 1", "tenant 0", "tenant 1"):
    if (n := request(tenant)) != 250:
        print(f"wrong: {tenant} has {n} items")
        faults += 1
engine.dispose()
sys.exit(1 if faults else 0)
