"""Django with persistent connections: large results by iterator(), a schema per tenant, and what OPTIONS can say."""
import os
import sys
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.db import DatabaseError

FORM = sys.argv[1]
OPTIONS = {
    "options": {"options": "-c search_path=tenant_b"},
    "prepared": {"server_side_binding": True, "prepare_threshold": 0},
}
url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": url.hostname, "PORT": url.port, "NAME": url.path[1:], "USER": url.username,
            "CONN_MAX_AGE": 600, "OPTIONS": OPTIONS.get(FORM, {}),
            "DISABLE_SERVER_SIDE_CURSORS": FORM not in ("cursor", "atomic"),
        }
    },
    USE_TZ=True,
)
django.setup()

from django.db import connection, models, transaction  # noqa: E402


class Item(models.Model):
    name = models.TextField()

    class Meta:
        app_label, db_table, managed = "corpus", "item", False


def cursor():
    """A view that goes through a table that is too large for memory."""
    return sum(1 for _ in Item.objects.iterator(chunk_size=100)) == 500


def atomic():
    with transaction.atomic():
        return cursor()


def schema():
    """What django-tenants does for a request."""
    with connection.cursor() as c:
        c.execute("set search_path = %s", ["tenant_b"])
    return Item.objects.count() == 1


def options():
    return Item.objects.count() == 1


def prepared():
    return all(Item.objects.get(id=n).name == f"item {n}" for n in range(1, 7))


def correct():
    with transaction.atomic():
        with connection.cursor() as c:
            c.execute("set local search_path = %s", ["tenant_b"])
        if Item.objects.count() != 1:
            return False
    return prepared() and cursor()


try:
    if not globals()[FORM]():
        sys.exit("wrong: rows of another schema, or not all")
except DatabaseError as e:
    sys.exit(f"wrong: {e}")
