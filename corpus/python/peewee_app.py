"""peewee on psycopg2: a tenant, for the connection or for the transaction."""
import os
import sys
from urllib.parse import urlparse

from peewee import PostgresqlDatabase

url = urlparse(os.environ["DATABASE_URL"])
db = PostgresqlDatabase(url.path[1:], host=url.hostname, port=url.port, user=url.username, password=url.password)


def tenant(local):
    db.execute_sql("select set_config('app.tenant', 'tenant 1', %s)", (local,))
    return db.execute_sql("select count(*) from item where tenant = current_setting('app.tenant', true)").fetchone()[0]


with db.connection_context():
    if sys.argv[1] == "set":
        n = tenant(False)
    else:
        with db.atomic():
            n = tenant(True)
if n != 250:
    sys.exit(f"wrong: the tenant has {n} items")
