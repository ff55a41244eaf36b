// Where a role's permissions come from: given to it, inherited from its parents
// and theirs, or held because it holds all.

/** Inheritance knows roles and, of those that were read, what each holds of its own. */
export class Inheritance {
  constructor(roles) {
    this.roles = new Map(roles.map((role) => [role.id, role]));
    this.own = new Map();
  }

  /** know says which permissions, by id, a role holds of its own. */
  know(roleId, permissionIds) {
    this.own.set(roleId, new Set(permissionIds));
  }

  /** change says that a role was given a permission, or that it was taken away. */
  change(roleId, permissionId, given) {
    const own = this.own.get(roleId);
    if (given) own?.add(permissionId);
    else own?.delete(permissionId);
  }

  /** ancestors gives the roles that a role inherits from, nearest first. */
  ancestors(roleId) {
    const found = new Map();
    let line = this.roles.get(roleId)?.parent_ids ?? [];
    while (line.length > 0) {
      const next = [];
      for (const id of line) {
        const role = this.roles.get(id);
        if (!role || id === roleId || found.has(id)) continue;
        found.set(id, role);
        next.push(...role.parent_ids);
      }
      line = next;
    }
    return [...found.values()];
  }

  /** of says how a role holds a permission: {own, all, from}, from being the names of the ancestors that hand it on. */
  of(roleId, permissionId) {
    const own = this.own.get(roleId)?.has(permissionId) ?? false;
    return {
      own,
      all: own && Boolean(this.roles.get(roleId)?.holds_all),
      from: this.ancestors(roleId).filter((role) => this.own.get(role.id)?.has(permissionId)).map((role) => role.name),
    };
  }
}

/** readGrants reads what roles hold of their own, and what those hold that they inherit from. */
export async function readGrants(client, inheritance, roleIds, signal) {
  const wanted = new Set(roleIds.flatMap((id) => [id, ...inheritance.ancestors(id).map((role) => role.id)]));
  await Promise.all([...wanted].filter((id) => !inheritance.own.has(id)).map(async (id) => {
    const held = await client.list(`/api/v3/rbac-permissions/role/${id}`, { signal });
    inheritance.know(id, held.map((permission) => permission.id));
  }));
}
