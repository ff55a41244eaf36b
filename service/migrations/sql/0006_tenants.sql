-- How tenants are made, changed and removed.
--
-- create_tenant makes a tenant with its four roles and its first administrator:
-- SUPER_ADMIN, or GLOBAL_ADMIN if the tenant is to be the platform. What USER and
-- ADMIN start with is chosen by the permissions' names. The function works under
-- the new tenant's id and restores the caller's scope at the end, so one statement
-- does all of it under forced row-level security.
create function poolproof.create_tenant(
    tenant uuid, name text, slug text, admin uuid, email text, admin_name text, is_platform boolean default false)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    outer_tenant text := coalesce(current_setting('app.current_tenant_id', true), '');
begin
    perform set_config('app.current_tenant_id', create_tenant.tenant::text, true);
    insert into poolproof.tenants (id, name, slug, next_role_id)
    values (create_tenant.tenant, create_tenant.name, create_tenant.slug, 5);
    if create_tenant.is_platform then
        insert into poolproof.platform (id) values (create_tenant.tenant);
    end if;
    insert into poolproof.roles (tenant_id, id, name, description, system, holds_all) values
        (create_tenant.tenant, 1, 'USER', 'Sees what the tenant has', true, false),
        (create_tenant.tenant, 2, 'ADMIN', 'Works with every feature and manages members', true, false),
        (create_tenant.tenant, 3, 'SUPER_ADMIN', 'Holds every permission of the tenant', true, true),
        (create_tenant.tenant, 4, 'GLOBAL_ADMIN', 'Holds every permission of the tenant and, on the platform, manages tenants', true, true);
    insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
    select create_tenant.tenant, r.id, p.id, p.scope
    from poolproof.permissions p
    join (values (1, 'view_'), (2, 'view_'), (2, 'start_')) r (id, prefix) on starts_with(p.name, r.prefix)
    where p.scope = 'tenant'
    union all
    select create_tenant.tenant, 2, p.id, p.scope from poolproof.permissions p where p.name = 'manage_users'
    union all
    select create_tenant.tenant, 4, p.id, p.scope
    from poolproof.permissions p
    where p.scope = 'platform' and create_tenant.is_platform;
    insert into poolproof.profiles (tenant_id, user_id, email, name)
    values (create_tenant.tenant, create_tenant.admin, create_tenant.email, create_tenant.admin_name);
    insert into poolproof.user_roles (tenant_id, user_id, role_id, granted_by)
    values (create_tenant.tenant, create_tenant.admin,
        case when create_tenant.is_platform then 4 else 3 end, create_tenant.admin);
    insert into poolproof.audit_log (tenant_id, actor, action, object, after)
    values (create_tenant.tenant, create_tenant.admin, 'tenant.create', 'tenant/' || create_tenant.tenant,
        jsonb_build_object('name', create_tenant.name, 'slug', create_tenant.slug));
    perform set_config('app.current_tenant_id', outer_tenant, true);
end
$$;

-- may_manage_tenants returns 'ok' or the refusal for a caller who wants to manage
-- tenants. home is the tenant that the caller's request is for.
create function poolproof.may_manage_tenants(platform uuid, caller uuid, home uuid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    if not poolproof.is_member(home, caller) then
        return 'not_a_member';
    elsif not exists (
        select from poolproof.held(platform, caller) h
        join poolproof.permissions p on p.id = h.permission_id
        where p.name = 'manage_tenants') then
        return 'forbidden';
    end if;
    return 'ok';
end
$$;

-- add_tenant, change_tenant and remove_tenant are the platform's writes. Each
-- decides, changes and records in one call. They run as their owner, because the
-- service may not make or remove tenants itself, and they work under the tenant's
-- own id where row-level security requires it. The caller holds the platform's
-- lock. The columns verdict, detail and epoch are those of every write.

create function poolproof.add_tenant(platform uuid, caller uuid, home uuid, tenant uuid, name text, slug text, admin uuid, admin_email text)
returns table (verdict text, detail text, epoch text, created_at timestamptz, version int)
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    verdict := poolproof.may_manage_tenants(add_tenant.platform, add_tenant.caller, add_tenant.home);
    if verdict = 'ok' and exists (select from poolproof.tenants t where t.slug = add_tenant.slug) then
        verdict := 'name_taken';
    end if;
    if verdict = 'ok' then
        perform poolproof.create_tenant(add_tenant.tenant, add_tenant.name, add_tenant.slug, add_tenant.admin, add_tenant.admin_email, '');
        insert into poolproof.audit_log (tenant_id, actor, action, object, after)
        values (add_tenant.platform, add_tenant.caller, 'tenant.create', 'tenant/' || add_tenant.tenant,
            jsonb_build_object('name', add_tenant.name, 'slug', add_tenant.slug, 'admin_user_id', add_tenant.admin));
        select t.created_at, t.version into created_at, version from poolproof.tenants t where t.id = add_tenant.tenant;
    end if;
    epoch := poolproof.catalogue_epoch_after(verdict = 'ok');
    return next;
end
$$;

-- change_tenant leaves the name or the slug as it is where it is given null. match
-- holds the versions that may be changed; null allows any.
create function poolproof.change_tenant(platform uuid, caller uuid, home uuid, tenant uuid, name text, slug text, match int[])
returns table (verdict text, detail text, epoch text, id uuid, new_name text, new_slug text, created_at timestamptz, version int)
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    t poolproof.tenants;
    changed boolean := false;
begin
    select x.* into t from poolproof.tenants x where x.id = change_tenant.tenant;
    verdict := poolproof.may_manage_tenants(change_tenant.platform, change_tenant.caller, change_tenant.home);
    if verdict = 'ok' then
        verdict := case
            when t.id is null then 'not_found'
            when not t.version = any (change_tenant.match) then 'version_mismatch'
            when exists (select from poolproof.tenants o where o.slug = change_tenant.slug and o.id <> t.id) then 'name_taken'
            else 'ok' end;
    end if;
    if verdict = 'ok' then
        changed := coalesce(change_tenant.name <> t.name, false) or coalesce(change_tenant.slug <> t.slug, false);
        if changed then
            perform set_config('app.current_tenant_id', t.id::text, true);
            update poolproof.tenants x
            set name = coalesce(change_tenant.name, x.name), slug = coalesce(change_tenant.slug, x.slug),
                version = x.version + 1, updated_at = clock_timestamp()
            where x.id = t.id
            returning x.name, x.slug, x.version into new_name, new_slug, version;
            perform set_config('app.current_tenant_id', change_tenant.platform::text, true);
            insert into poolproof.audit_log (tenant_id, actor, action, object, before, after)
            values (change_tenant.platform, change_tenant.caller, 'tenant.update', 'tenant/' || t.id,
                jsonb_build_object('name', t.name, 'slug', t.slug), jsonb_build_object('name', new_name, 'slug', new_slug));
        else
            new_name := t.name;
            new_slug := t.slug;
            version := t.version;
        end if;
        id := t.id;
        created_at := t.created_at;
    end if;
    epoch := poolproof.catalogue_epoch_after(changed);
    return next;
end
$$;

-- remove_tenant removes a tenant and everything in it. A tenant that has profiles
-- is removed only with force; without it the verdict is 'members' and detail is
-- their number. The tenant's audit log goes with it; the platform's log records the
-- removal.
create function poolproof.remove_tenant(platform uuid, caller uuid, home uuid, tenant uuid, force boolean, match int[])
returns table (verdict text, detail text, epoch text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    t poolproof.tenants;
    members bigint;
begin
    select x.* into t from poolproof.tenants x where x.id = remove_tenant.tenant;
    verdict := poolproof.may_manage_tenants(remove_tenant.platform, remove_tenant.caller, remove_tenant.home);
    if verdict = 'ok' then
        verdict := case
            when t.id is null then 'not_found'
            when not t.version = any (remove_tenant.match) then 'version_mismatch'
            when t.id = remove_tenant.platform then 'platform'
            else 'ok' end;
    end if;
    if verdict = 'ok' then
        perform set_config('app.current_tenant_id', t.id::text, true);
        -- Wait for the writes that are under way in the tenant.
        perform from poolproof.tenants x where x.id = t.id for no key update;
        select count(*) into members from poolproof.profiles p where p.tenant_id = t.id;
        if members > 0 and not remove_tenant.force then
            verdict := 'members';
            detail := members::text;
        else
            delete from poolproof.tenants x where x.id = t.id;
        end if;
        perform set_config('app.current_tenant_id', remove_tenant.platform::text, true);
        if verdict = 'ok' then
            insert into poolproof.audit_log (tenant_id, actor, action, object, before)
            values (remove_tenant.platform, remove_tenant.caller, 'tenant.delete', 'tenant/' || t.id,
                jsonb_build_object('name', t.name, 'slug', t.slug, 'profiles', members));
        end if;
    end if;
    epoch := poolproof.catalogue_epoch_after(verdict = 'ok');
    return next;
end
$$;
