-- Questions that several statements ask. They run with the caller's rights, so
-- that row-level security holds inside them, and by the snapshot of the
-- statement that asks. They are PL/pgSQL because that keeps their plans on each
-- server connection: folded into their statements, they would be planned again
-- with every one of them (measured: most of the time of a short read). Expiry
-- is judged by clock_timestamp(), because now() is when the transaction began,
-- and a write waits for its tenant's lock.

-- is_member: whether a user is an active member of a tenant.
create function poolproof.is_member(tenant uuid, member uuid) returns boolean
language plpgsql stable parallel safe as $$
begin
    return exists (
        select from poolproof.profiles p
        where p.tenant_id = is_member.tenant and p.user_id = is_member.member and p.active);
end
$$;

-- held: what a user's unexpired assignments in a tenant give, and until when
-- ('infinity' without an expiry); nothing if the user is no active member. The
-- zero id stands for "all permissions of scope tenant, those added later
-- included", so that nobody passes that on who holds only today's.
create function poolproof.held(tenant uuid, member uuid)
returns table (permission_id uuid, until timestamptz)
language plpgsql stable parallel restricted rows 30 as $$
#variable_conflict use_column
begin
    return query
    with recursive mine (role_id, until) as (
        select u.role_id, coalesce(u.expires_at, 'infinity')
        from poolproof.user_roles u
        join poolproof.profiles m on m.tenant_id = u.tenant_id and m.user_id = u.user_id and m.active
        where u.tenant_id = held.tenant and u.user_id = held.member
          and (u.expires_at is null or u.expires_at > clock_timestamp())
        union
        select i.parent_id, mine.until
        from mine
        join poolproof.role_parents i on i.tenant_id = held.tenant and i.role_id = mine.role_id
    )
    select g.permission_id, max(g.until)
    from (
        select rp.permission_id, mine.until
        from mine
        join poolproof.role_permissions rp on rp.tenant_id = held.tenant and rp.role_id = mine.role_id
        union all
        select a.id, mine.until
        from mine
        join poolproof.roles r on r.tenant_id = held.tenant and r.id = mine.role_id and r.holds_all
        cross join (
            select p.id from poolproof.permissions p where p.scope = 'tenant'
            union all
            select '00000000-0000-0000-0000-000000000000'::uuid
        ) a
    ) g
    group by g.permission_id;
end
$$;

-- conferred: what holding any of these roles gives; the zero id as in held.
create function poolproof.conferred(tenant uuid, role_ids int[])
returns table (permission_id uuid)
language plpgsql stable parallel safe rows 30 as $$
#variable_conflict use_column
begin
    return query
    with recursive lineage (role_id) as (
        select r.id
        from poolproof.roles r
        where r.tenant_id = conferred.tenant and r.id = any (conferred.role_ids)
        union
        select i.parent_id
        from lineage
        join poolproof.role_parents i on i.tenant_id = conferred.tenant and i.role_id = lineage.role_id
    )
    select rp.permission_id
    from lineage
    join poolproof.role_permissions rp on rp.tenant_id = conferred.tenant and rp.role_id = lineage.role_id
    union
    select a.id
    from lineage
    join poolproof.roles r on r.tenant_id = conferred.tenant and r.id = lineage.role_id and r.holds_all
    cross join (
        select p.id from poolproof.permissions p where p.scope = 'tenant'
        union all
        select '00000000-0000-0000-0000-000000000000'::uuid
    ) a;
end
$$;

-- ancestors: the roles that any of these inherits from, itself included only
-- where inheritance runs in a circle.
create function poolproof.ancestors(tenant uuid, role_ids int[])
returns table (role_id int)
language plpgsql stable parallel safe rows 10 as $$
#variable_conflict use_column
begin
    return query
    with recursive lineage (role_id) as (
        select i.parent_id
        from poolproof.role_parents i
        where i.tenant_id = ancestors.tenant and i.role_id = any (ancestors.role_ids)
        union
        select i.parent_id
        from lineage
        join poolproof.role_parents i on i.tenant_id = ancestors.tenant and i.role_id = lineage.role_id
    )
    select lineage.role_id from lineage;
end
$$;

-- heirs: the roles that inherit from this one, through any number of steps.
create function poolproof.heirs(tenant uuid, role int)
returns table (role_id int)
language plpgsql stable parallel safe rows 10 as $$
#variable_conflict use_column
begin
    return query
    with recursive line (role_id) as (
        select i.role_id
        from poolproof.role_parents i
        where i.tenant_id = heirs.tenant and i.parent_id = heirs.role
        union
        select i.role_id
        from line
        join poolproof.role_parents i on i.tenant_id = heirs.tenant and i.parent_id = line.role_id
    )
    select line.role_id from line;
end
$$;

-- create_tenant makes a tenant with its four roles and its first
-- administrator: SUPER_ADMIN, or GLOBAL_ADMIN if it is to be the platform.
-- It acts under the new tenant's id and puts the caller's back, so that one
-- statement does all of it under forced row-level security too.
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
    join (values (1, 'view'), (2, 'view'), (2, 'start')) r (id, action) on r.action = p.action
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
