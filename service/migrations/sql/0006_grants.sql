-- What the service may do: no more than its statements need. It creates no
-- system role and no role that holds everything, moves no row to another
-- tenant, and only appends to the audit log.

revoke all on all functions in schema poolproof from public;

grant usage on schema poolproof to poolproof_runtime;

grant select on poolproof.schema_migrations, poolproof.platform, poolproof.epochs to poolproof_runtime;

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

grant select, delete,
    insert (tenant_id, user_id, role_id, granted_by, expires_at),
    update (granted_by, expires_at, version)
    on poolproof.user_roles to poolproof_runtime;

grant select, delete,
    insert (tenant_id, feature_id, enabled),
    update (enabled, version, updated_at)
    on poolproof.tenant_features to poolproof_runtime;

-- The catalogues' policies leave only the platform tenant to write.
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

grant execute on function poolproof.is_member(uuid, uuid), poolproof.held(uuid, uuid), poolproof.conferred(uuid, int[]),
    poolproof.ancestors(uuid, int[]), poolproof.heirs(uuid, int) to poolproof_runtime;
