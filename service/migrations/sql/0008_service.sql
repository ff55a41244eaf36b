-- What the whole service needs beside the tables: epochs that a statement can
-- tell of its own change, audit ids counted per tenant, a platform that always
-- has an administrator, and the platform's writes on tenants.

-- raised_in is the transaction that raised the epoch last: it is raised once
-- per transaction, however many statements and triggers ask for it.
alter table poolproof.epochs add column raised_in xid8;

-- raise_epochs raises the epochs of some tenants, each once per transaction.
-- As its owner: nobody else may write epochs, and of its own tenant's only.
create function poolproof.raise_epochs(tenants uuid[]) returns void
language sql security definer
set search_path = pg_catalog, pg_temp as $$
    insert into poolproof.epochs as e (tenant_id, raised_in)
    select distinct t.id, pg_current_xact_id() from unnest(tenants) t (id) order by t.id
    on conflict (tenant_id) do update set epoch = e.epoch + 1, raised_in = excluded.raised_in
    where e.raised_in is distinct from excluded.raised_in;
$$;

create or replace function poolproof.raise_epoch() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform poolproof.raise_epochs(array(select c.tenant_id from changed c));
    return null;
end
$$;

create or replace function poolproof.raise_epoch_of_tenant() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'UPDATE' then
        perform poolproof.raise_epochs(array(
            select n.id from changed n join before b on b.id = n.id where (n.name, n.slug) is distinct from (b.name, b.slug)));
    else
        perform poolproof.raise_epochs(array(select c.id from changed c));
    end if;
    return null;
end
$$;

create or replace function poolproof.raise_catalogue_epoch() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from changed) then
        perform poolproof.raise_epochs(array['00000000-0000-0000-0000-000000000000'::uuid]);
    end if;
    return null;
end
$$;

-- epoch_after: the tenant's epoch and the catalogues', as "tenant.catalogue",
-- after what the statement that asks has changed. Triggers fire only after
-- that statement has answered, so the epoch is raised here, before them.
create function poolproof.epoch_after(tenant uuid, changed boolean) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp as $$
begin
    if changed then
        perform poolproof.raise_epochs(array[tenant]);
    end if;
    return coalesce((select e.epoch from poolproof.epochs e where e.tenant_id = tenant), 0) || '.'
        || coalesce((select e.epoch from poolproof.epochs e where e.tenant_id = '00000000-0000-0000-0000-000000000000'), 0);
end
$$;

-- catalogue_epoch_after: the same for what belongs to no one tenant, with 0 as
-- the tenant's part.
create function poolproof.catalogue_epoch_after(changed boolean) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp as $$
begin
    if changed then
        perform poolproof.raise_epochs(array['00000000-0000-0000-0000-000000000000'::uuid]);
    end if;
    return '0.' || (select e.epoch from poolproof.epochs e where e.tenant_id = '00000000-0000-0000-0000-000000000000');
end
$$;

-- Audit ids are counted per tenant: a counter of all would tell every tenant
-- how busy the others are. Who writes holds the tenant's lock.
alter table poolproof.audit_log alter column id drop identity;

create function poolproof.number_audit_row() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    new.id := coalesce((select max(a.id) from poolproof.audit_log a where a.tenant_id = new.tenant_id), 0) + 1;
    return new;
end
$$;

create trigger number_audit_row before insert on poolproof.audit_log
    for each row execute function poolproof.number_audit_row();

create index audit_log_object on poolproof.audit_log (tenant_id, object, id);

create index audit_log_actor on poolproof.audit_log (tenant_id, actor, id);

-- has_keeper: whether a tenant has an active member who holds a permission
-- through an assignment without expiry.
create function poolproof.has_keeper(tenant uuid, permission text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    return exists (
        with recursive source (role_id) as (
            select rp.role_id
            from poolproof.role_permissions rp
            join poolproof.permissions p on p.id = rp.permission_id
            where rp.tenant_id = has_keeper.tenant and p.name = has_keeper.permission
            union
            select r.id
            from poolproof.roles r
            join poolproof.permissions p on p.name = has_keeper.permission and p.scope = 'tenant'
            where r.tenant_id = has_keeper.tenant and r.holds_all
            union
            select i.role_id
            from source
            join poolproof.role_parents i on i.tenant_id = has_keeper.tenant and i.parent_id = source.role_id
        )
        select from source
        join poolproof.user_roles u on u.tenant_id = has_keeper.tenant and u.role_id = source.role_id and u.expires_at is null
        join poolproof.profiles m on m.tenant_id = has_keeper.tenant and m.user_id = u.user_id and m.active);
end
$$;

-- keep_a_manager: a tenant that is touched and still there keeps somebody who
-- manages its roles, and the platform somebody who manages tenants.
create or replace function poolproof.keep_a_manager() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if exists (
        select from (select distinct c.tenant_id from changed c) touched
        join poolproof.tenants t on t.id = touched.tenant_id
        where not poolproof.has_keeper(t.id, 'manage_roles')
    ) then
        raise exception using errcode = 'PP001',
            message = 'the tenant would be left without an active holder of manage_roles';
    end if;
    if exists (
        select from changed c join poolproof.platform p on p.id = c.tenant_id
    ) and not poolproof.has_keeper((select p.id from poolproof.platform p), 'manage_tenants') then
        raise exception using errcode = 'PP001',
            message = 'the platform would be left without an active holder of manage_tenants';
    end if;
    return null;
end
$$;

-- create_tenant of 0003 anew: what USER and ADMIN begin with goes by the names
-- of permissions. A permission's action is only described, and may be changed.
create or replace function poolproof.create_tenant(
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

-- keep_feature: whether an entry of the catalogue is there, and then it stays
-- until the transaction's end. Without it a tenant's write locks the tenant's
-- epoch first, and then waits for the row or the reference that somebody who
-- deletes the entry holds, who waits for the epoch: a deadlock. As its owner: a
-- tenant may not lock what is not its own.
create function poolproof.keep_feature(feature uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform from poolproof.features f where f.id = keep_feature.feature for key share;
    return found;
end
$$;

-- keep_permission is the same for permissions.
create function poolproof.keep_permission(permission uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform from poolproof.permissions p where p.id = keep_permission.permission for key share;
    return found;
end
$$;

-- refused: why a user may not read in a tenant, null if they may. A permission
-- of '' asks for membership only.
create function poolproof.refused(tenant uuid, caller uuid, permission text) returns text
language plpgsql stable parallel restricted as $$
begin
    if not poolproof.is_member(tenant, caller) then
        return 'not_a_member';
    elsif permission <> '' and not exists (
        select from poolproof.held(tenant, caller) h
        join poolproof.permissions p on p.id = h.permission_id
        where p.name = refused.permission) then
        return 'forbidden';
    end if;
    return null;
end
$$;

-- The reads of 0007 anew: the caller's permission is a parameter, and roles
-- come in pages, at most size whose ids come after the one given.
drop function poolproof.read_roles(uuid, uuid);

drop function poolproof.read_features(uuid, uuid);

drop function poolproof.read_sidebar(uuid, uuid);

create function poolproof.read_roles(tenant uuid, caller uuid, needed text, after int, size int)
returns table (verdict text, id int, name text, description text, tenant_id uuid, system boolean, created_at timestamptz)
language plpgsql stable rows 10 as $$
#variable_conflict use_column
begin
    verdict := poolproof.refused(read_roles.tenant, read_roles.caller, read_roles.needed);
    if verdict is null then
        return query
        select 'row', r.id, r.name, r.description, r.tenant_id, r.system, r.created_at
        from poolproof.roles r
        where r.tenant_id = read_roles.tenant and r.id > read_roles.after
        order by r.id
        limit read_roles.size;
        if found then
            return;
        end if;
        verdict := 'empty';
    end if;
    return next;
end
$$;

-- Every feature of the catalogue; the tenant's value, else the default.
create function poolproof.read_features(tenant uuid, caller uuid, needed text)
returns table (verdict text, name text, enabled boolean)
language plpgsql stable rows 10 as $$
#variable_conflict use_column
begin
    verdict := poolproof.refused(read_features.tenant, read_features.caller, read_features.needed);
    if verdict is null then
        return query
        select 'row', f.name, coalesce(t.enabled, f.default_enabled)
        from poolproof.features f
        left join poolproof.tenant_features t on t.tenant_id = read_features.tenant and t.feature_id = f.id;
        if found then
            return;
        end if;
        verdict := 'empty';
    end if;
    return next;
end
$$;

-- The items whose gates all hold, in display order.
create function poolproof.read_sidebar(tenant uuid, caller uuid, needed text)
returns table (verdict text, id uuid, title text, icon text, url_path text, feature_id uuid, permission text, group_name text, display_order int)
language plpgsql stable rows 20 as $$
#variable_conflict use_column
begin
    verdict := poolproof.refused(read_sidebar.tenant, read_sidebar.caller, read_sidebar.needed);
    if verdict is null then
        return query
        with mine as materialized (
            select p.name
            from poolproof.held(read_sidebar.tenant, read_sidebar.caller) h
            join poolproof.permissions p on p.id = h.permission_id
        )
        select 'row', s.id, s.title, s.icon, s.url_path, s.feature_id, s.permission, s.group_name, s.display_order
        from poolproof.sidebar_items s
        left join poolproof.features f on f.id = s.feature_id
        left join poolproof.tenant_features t on t.tenant_id = read_sidebar.tenant and t.feature_id = s.feature_id
        where (s.feature_id is null or coalesce(t.enabled, f.default_enabled))
          and (s.permission is null or s.permission in (select mine.name from mine))
        order by s.display_order, s.title, s.id;
        if found then
            return;
        end if;
        verdict := 'empty';
    end if;
    return next;
end
$$;

-- The platform's writes on tenants. Each decides, changes and records in one
-- call, as its owner, because the service may not make or remove a tenant
-- otherwise, and acts under the tenant's own id where row-level security wants
-- it. home is the tenant that the caller's request is for. The caller holds
-- the platform's lock.

-- may_manage_tenants: the verdict on a caller who wants to.
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

-- change_tenant: null leaves a name or slug as it is; match holds the versions
-- that may be changed, null: any.
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

-- remove_tenant removes a tenant and all that is in it; only with force while
-- it has profiles, which detail counts. Its own audit log goes with it, the
-- platform's keeps the removal.
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
        -- Who writes in the tenant at this moment finishes first.
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

-- An assignment that is made after an earlier one has ended begins anew.
grant update (created_at) on poolproof.user_roles to poolproof_runtime;

revoke all on function poolproof.raise_epochs(uuid[]), poolproof.epoch_after(uuid, boolean), poolproof.catalogue_epoch_after(boolean),
    poolproof.number_audit_row(), poolproof.has_keeper(uuid, text),
    poolproof.keep_feature(uuid), poolproof.keep_permission(uuid), poolproof.refused(uuid, uuid, text),
    poolproof.read_roles(uuid, uuid, text, int, int), poolproof.read_features(uuid, uuid, text), poolproof.read_sidebar(uuid, uuid, text),
    poolproof.may_manage_tenants(uuid, uuid, uuid),
    poolproof.add_tenant(uuid, uuid, uuid, uuid, text, text, uuid, text),
    poolproof.change_tenant(uuid, uuid, uuid, uuid, text, text, int[]),
    poolproof.remove_tenant(uuid, uuid, uuid, uuid, boolean, int[])
    from public;

grant execute on function poolproof.raise_epochs(uuid[]), poolproof.epoch_after(uuid, boolean), poolproof.catalogue_epoch_after(boolean),
    poolproof.has_keeper(uuid, text), poolproof.keep_feature(uuid), poolproof.keep_permission(uuid), poolproof.refused(uuid, uuid, text),
    poolproof.read_roles(uuid, uuid, text, int, int), poolproof.read_features(uuid, uuid, text), poolproof.read_sidebar(uuid, uuid, text),
    poolproof.may_manage_tenants(uuid, uuid, uuid),
    poolproof.add_tenant(uuid, uuid, uuid, uuid, text, text, uuid, text),
    poolproof.change_tenant(uuid, uuid, uuid, uuid, text, text, int[]),
    poolproof.remove_tenant(uuid, uuid, uuid, uuid, boolean, int[])
    to poolproof_runtime;
