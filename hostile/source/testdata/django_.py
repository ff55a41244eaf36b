import os

import django
from django.conf import settings
from django.db import connection
from django.db.models.expressions import RawSQL

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["DATABASE"], "USER": "postgres",
                           "HOST": "127.0.0.1", "PORT": os.environ["PORT"]}},
    INSTALLED_APPS=["django.contrib.contenttypes"],
)
django.setup()

from django.contrib.contenttypes.models import ContentType  # noqa: E402


def by_orm():
    marker = RawSQL("set_config('app.orm', %s, false)", ["a"])
    return list(ContentType.objects.annotate(marker=marker).values_list("marker", flat=True))  # there


with connection.cursor() as cursor:
    cursor.execute("create table if not exists django_content_type (id int, app_label text, model text)")
    cursor.execute("truncate django_content_type")
    cursor.execute("insert into django_content_type values (1, 'a', 'b')")
    cursor.execute("select set_config('app.where', %s, false)", ["a"])  # here
    print(cursor.fetchone()[0])
print(by_orm())
