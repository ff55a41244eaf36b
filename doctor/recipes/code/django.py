"""Django: a request, a task or a command works for one tenant, in one transaction."""
from contextlib import contextmanager

from django.db import connections, transaction

# For settings.py: DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", ..., **POOLED}}
POOLED = {
    "CONN_MAX_AGE": 600,
    "DISABLE_SERVER_SIDE_CURSORS": True,
}


@contextmanager
def tenant(tenant_id, using="default"):
    """with tenant(tenant_id): ... A second one inside is refused: it would change the outer one's tenant."""
    with transaction.atomic(using=using, durable=True):
        with connections[using].cursor() as cursor:
            cursor.execute("select set_config('app.tenant', %s, true)", [str(tenant_id)])
        yield


class TenantMiddleware:
    """After the middleware that sets request.tenant_id."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        with tenant(request.tenant_id):
            return self.get_response(request)
