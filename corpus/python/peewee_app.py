"""peewee on psycopg2: a tenant, for the connection or for the transaction; and large results."""
import os
import sys
from urllib.parse import urlparse

from peewee import IntegerField, Model, TextField
from playhouse.postgres_ext import PostgresqlExtDatabase, ServerSide

FORM = sys.argv[1]
url = urlparse(os.environ["DATABASE_URL"])
db = PostgresqlExtDatabase(
    url.path[1:], host=url.hostname, port=url.port, user=url.username, password=url.password, register_hstore=False, server_side_cursors=FORM == "cursor"
)


class Item(Model):
    id = IntegerField(primary_key=True)
    name = TextField()

    class Meta:
        database = db
        table_name = "item"


def tenant(local):
    db.execute_sql("select set_config('app.tenant', 'tenant 1', %s)", (local,))
    return db.execute_sql("select count(*) from item where tenant = current_setting('app.tenant', true)").fetchone()[0]


with db.connection_context():
    if FORM == "set":
        n = tenant(False)
    elif FORM == "cursor":
        try:
            n = sum(1 for _ in Item.select().iterator()) / 2
        except Exception as e:
            n = repr(e)
    else:
        with db.atomic():
            n = tenant(True)
        last = 0
        while page := list(Item.select().where(Item.id > last).order_by(Item.id).limit(200)):  # by key
            last = page[-1].id
        with db.atomic():
            seen = sum(1 for _ in ServerSide(Item.select()))
        if last != 500 or seen != 500:
            n = last, seen
if n != 250:
    sys.exit(f"wrong: the tenant has {n} items")
