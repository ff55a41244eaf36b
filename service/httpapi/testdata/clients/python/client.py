"""Lists and creates a role by the package that openapi-python-client has generated; see the test."""

import json
import os
import sys

from poolproof_client import AuthenticatedClient
from poolproof_client.api.roles import create_role, list_roles
from poolproof_client.models import CreateRoleResponse201, ListRolesResponse200, NewRole, Problem

tenant = os.environ["POOLPROOF_TENANT"]
client = AuthenticatedClient(base_url=os.environ["POOLPROOF_URL"], token=os.environ["POOLPROOF_TOKEN"])


def names():
    found, token = [], ""
    while True:
        page = list_roles.sync(client=client, x_tenant_id=tenant, page_size=2, page_token=token)
        assert isinstance(page, ListRolesResponse200), page
        found += [role.name for role in page.data]
        token = page.next_page_token
        if token == "":
            return found


def create():
    body = NewRole(name=sys.argv[1], description="Made by a generated client.")
    return create_role.sync(client=client, body=body, x_tenant_id=tenant)


before = names()
made = create()
assert isinstance(made, CreateRoleResponse201), made
again = create()
assert isinstance(again, Problem), again
print(json.dumps({"Before": before, "ID": made.data.id, "Problem": again.code, "After": names()}))
