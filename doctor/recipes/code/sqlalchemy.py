"""SQLAlchemy on asyncpg: each session works for one tenant, in every transaction that it begins."""
from uuid import uuid4  # [untracked]

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session


def create_engine(url, **options):
    """The engine of the application. It keeps SQLAlchemy's own pool."""
    connect_args = {
        "statement_cache_size": 0,  # [untracked]
        "prepared_statement_cache_size": 0,  # [untracked]
        "prepared_statement_name_func": lambda: f"__asyncpg_{uuid4()}__",  # [untracked]
    }
    return create_async_engine(url, connect_args=connect_args, **options)


class TenantSession(Session):
    """What AsyncSession works with. The event below is for it alone."""


@event.listens_for(TenantSession, "after_begin")
def set_tenant(session, transaction, connection):
    connection.execute(text("select set_config('app.tenant', :tenant, true)"), {"tenant": str(session.info["tenant"])})


def tenant_session(engine, tenant):
    """async with tenant_session(engine, tenant) as session: ..."""
    return AsyncSession(engine, sync_session_class=TenantSession, info={"tenant": tenant})
