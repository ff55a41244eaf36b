-- What the service may do: no more than its statements need. It cannot create a
-- system role or a role that holds everything, move a row to another tenant, or
-- change the audit log.

revoke all on all functions in schema poolproof from public;

grant usage on schema poolproof to poolproof_runtime;

grant select on poolproof.schema_migrations, poolproof.platform, poolproof.epochs, poolproof.bounds to poolproof_runtime;

grant select, update (next_role_id, version, updated_at) on poolproof.tenants to poolproof_runtime;

grant select, delete,
    insert (tenant_id, user_id, external_id, email, name, active),
    update (external_id, email, name, active, version, updated_at)
    on poolproof.profiles to poolproof_runtime;

grant select, delete,
    insert (tenant_id, id, name, description),
    update (name, description, version, updated_at)
    on poolproof.roles to poolproof_runtime;

grant select, delete, insert (tenant_id, role_id, permission_id, scope) on poolproof.role_permissions to poolproof_runtime;

grant select, delete, insert (tenant_id, role_id, parent_id) on poolproof.role_parents to poolproof_runtime;

-- created_at: an assignment that is made after an earlier one has expired begins
-- anew.
grant select, delete,
    insert (tenant_id, user_id, role_id, granted_by, expires_at),
    update (granted_by, expires_at, version, created_at)
    on poolproof.user_roles to poolproof_runtime;

grant select, delete,
    insert (tenant_id, feature_id, enabled),
    update (enabled, version, updated_at)
    on poolproof.tenant_features to poolproof_runtime;

-- The catalogues' policies let only the platform tenant write.
grant select, delete,
    insert (id, name, scope, resource_type, action, description),
    update (name, resource_type, action, description, version, updated_at)
    on poolproof.permissions to poolproof_runtime;

grant select, delete,
    insert (id, name, description, default_enabled),
    update (name, description, default_enabled, version, updated_at)
    on poolproof.features to poolproof_runtime;

grant select, insert, update, delete on poolproof.sidebar_items to poolproof_runtime;

grant select, insert (tenant_id, actor, action, object, before, after) on poolproof.audit_log to poolproof_runtime;

-- Not raise_epochs, which raises any tenant's epoch, nor create_tenant.
grant execute on function
    poolproof.is_member(uuid, uuid), poolproof.held(uuid, uuid), poolproof.conferred(uuid, int[]),
    poolproof.ancestors(uuid, int[]), poolproof.heirs(uuid, int), poolproof.has_keeper(uuid, text),
    poolproof.refused(uuid, uuid, text), poolproof.lock_tenant(uuid, uuid, text, uuid),
    poolproof.keep_entry(uuid), poolproof.within(bigint, int, text),
    poolproof.raise_epoch_in_scope(uuid), poolproof.epoch_after(uuid, boolean), poolproof.catalogue_epoch_after(boolean),
    poolproof.read_roles(uuid, uuid, text, int, int), poolproof.read_features(uuid, uuid, text), poolproof.read_sidebar(uuid, uuid, text),
    poolproof.may_manage_tenants(uuid, uuid, uuid),
    poolproof.add_tenant(uuid, uuid, uuid, uuid, text, text, uuid, text),
    poolproof.change_tenant(uuid, uuid, uuid, uuid, text, text, int[]),
    poolproof.remove_tenant(uuid, uuid, uuid, uuid, boolean, int[])
    to poolproof_runtime;
