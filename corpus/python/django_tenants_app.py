"""django-tenants: the tenant's schema for a request."""
import os
import sys
from urllib.parse import urlsplit

import django
from django.conf import settings

url = urlsplit(os.environ["DIRECT_URL" if sys.argv[1] == "direct" else "DATABASE_URL"])
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django_tenants.postgresql_backend",
            "HOST": url.hostname, "PORT": url.port, "NAME": url.path[1:], "USER": url.username, "PASSWORD": url.password or "",
        }
    },
    DATABASE_ROUTERS=("django_tenants.routers.TenantSyncRouter",),
    INSTALLED_APPS=["django.contrib.contenttypes", "django_tenants"],
    SHARED_APPS=["django.contrib.contenttypes"], TENANT_APPS=["django.contrib.contenttypes"], TENANT_MODEL="corpus.Client", TENANT_DOMAIN_MODEL="corpus.Domain",
    USE_TZ=True,
)
django.setup()

from django.db import connection, models  # noqa: E402


class Item(models.Model):
    name = models.TextField()

    class Meta:
        app_label, db_table, managed = "corpus", "item", False


connection.set_schema("tenant_b")
if (n := Item.objects.count()) != 1:
    sys.exit(f"wrong: {n} items, of another schema")
