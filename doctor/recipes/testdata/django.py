"""Asks for several tenants at once: django.py FORM OPERATIONS. See recipes_test.go."""
import json
import os
import sys
import threading
from urllib.parse import urlsplit

import django
import recipe
from django.conf import settings

FORM, OPERATIONS = sys.argv[1], int(sys.argv[2])
TENANTS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(1, 5)]
url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    USE_TZ=True,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql", "HOST": url.hostname, "PORT": url.port, "NAME": url.path[1:], "USER": url.username,
            **({"CONN_MAX_AGE": 600} if FORM == "defaults" else recipe.POOLED),
        }
    },
)
django.setup()

from django.db import connection, models  # noqa: E402


class Item(models.Model):
    name = models.TextField()

    class Meta:
        app_label, db_table, managed = "recipes", "item", False


def work(tenant, n):
    if n % 10 == 9:
        items = list(Item.objects.filter(id=1 + n % 50).iterator(chunk_size=1))
    else:
        items = list(Item.objects.filter(id=1 + n % 50))
    if n % 4 == 0:
        with connection.cursor() as cursor:
            cursor.execute("insert into note (told) values (%s)", [tenant])
    return [item.name for item in items] == [f"item {1 + n % 50} of {tenant}"]


class Request:
    pass


def one(n):
    tenant = TENANTS[n % 4]
    if FORM == "recipe":
        if n % 2:
            request = Request()
            request.tenant_id = tenant
            return recipe.TenantMiddleware(lambda request: work(tenant, n))(request)
        with recipe.tenant(tenant):
            return work(tenant, n)
    with connection.cursor() as cursor:  # what the recipe replaces
        cursor.execute("select set_config('app.tenant', %s, false)", [tenant])
    return work(tenant, n)


told = {"operations": 0, "wrong": 0, "failed": 0, "first": ""}
numbers, lock = iter(range(OPERATIONS)), threading.Lock()


def worker():
    while True:
        with lock:
            n = next(numbers, None)
            if n is None:
                break
            told["operations"] += 1
        wrong, failed, first = 0, 0, ""
        try:
            wrong = 0 if one(n) else 1
        except Exception as e:
            failed, first = 1, str(e)
        with lock:
            told["wrong"] += wrong
            told["failed"] += failed
            told["first"] = told["first"] or first
    connection.close()


threads = [threading.Thread(target=worker) for _ in range(8)]
for t in threads:
    t.start()
for t in threads:
    t.join()
if FORM == "recipe":
    told["wrong"] += Item.objects.count()  # without a tenant
    try:
        with recipe.tenant(TENANTS[0]), recipe.tenant(TENANTS[1]):
            told["wrong"] += 1
    except RuntimeError:
        pass  # refused
print(json.dumps(told))
