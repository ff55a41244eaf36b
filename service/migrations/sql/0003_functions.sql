-- Functions that several statements of the service call. They run with the
-- caller's rights where it does not say otherwise, so row-level security holds
-- inside them, and they see the snapshot of the statement that calls them.
--
-- They are PL/pgSQL because its plans stay on the server connection. As SQL
-- functions they would be inlined and planned again with every statement
-- (measured: most of the time of a short read).
--
-- Every function of the schema sets its own search_path, so that no schema of the
-- caller's search_path can replace an operator. A test checks that. CREATE OR
-- REPLACE without SET would remove the setting.
--
-- Expiry is compared with clock_timestamp(). now() is the time at which the
-- transaction began, and a write waits for its tenant's lock after that.

-- is_member reports whether a user is an active member of a tenant.
create function poolproof.is_member(tenant uuid, member uuid) returns boolean
language plpgsql stable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return exists (
        select from poolproof.profiles p
        where p.tenant_id = is_member.tenant and p.user_id = is_member.member and p.active);
end
$$;

-- held returns what a user holds in a tenant by unexpired assignments, and until
-- when ('infinity' without an expiry). It returns nothing for a user who is not an
-- active member. The zero id stands for "all permissions of scope tenant, also
-- those that are added later"; only a user who holds it can grant it.
--
-- It starts with the latest expiry and does not look again at a role that an
-- earlier turn has reached, so it takes each step of inheritance once, whatever
-- the number of expiries.
create function poolproof.held(tenant uuid, member uuid)
returns table (permission_id uuid, until timestamptz)
language plpgsql stable parallel restricted rows 30 set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    terms timestamptz[];
    term timestamptz;
    newly int[];
    reached int[] := '{}';
    untils timestamptz[] := '{}';
begin
    select array_agg(distinct coalesce(u.expires_at, 'infinity')) into terms
    from poolproof.user_roles u
    join poolproof.profiles m on m.tenant_id = u.tenant_id and m.user_id = u.user_id and m.active
    where u.tenant_id = held.tenant and u.user_id = held.member
      and (u.expires_at is null or u.expires_at > clock_timestamp());
    if cardinality(terms) = 1 then -- the ordinary case: everything expires at the same time
        return query
        select g.permission_id, terms[1]
        from poolproof.conferred(held.tenant, array(
            select u.role_id from poolproof.user_roles u where u.tenant_id = held.tenant and u.user_id = held.member
                and coalesce(u.expires_at, 'infinity') = terms[1])) g;
        return;
    end if;
    for term in select t from unnest(terms) t order by t desc loop
        newly := array(
            with recursive mine (role_id) as (
                select u.role_id
                from poolproof.user_roles u
                where u.tenant_id = held.tenant and u.user_id = held.member and coalesce(u.expires_at, 'infinity') = term
                  and u.role_id not in (select unnest(reached))
                union
                select i.parent_id
                from mine
                cross join lateral ( -- by the index, once per role; a join would read all parents at each step
                    select p.parent_id from poolproof.role_parents p
                    where p.tenant_id = held.tenant and p.role_id = mine.role_id
                    offset 0
                ) i
                where i.parent_id not in (select unnest(reached))
            )
            select mine.role_id from mine);
        reached := reached || newly;
        untils := untils || array_fill(term, array[cardinality(newly)]);
    end loop;
    return query
    with mine as materialized (
        select m.role_id, m.until from unnest(reached, untils) m (role_id, until)
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

-- ancestors returns the roles from which any of these roles inherits, over any
-- number of steps. It returns a role itself only if inheritance runs in a cycle.
create function poolproof.ancestors(tenant uuid, role_ids int[])
returns table (role_id int)
language plpgsql stable parallel safe rows 10 set search_path = pg_catalog, pg_temp as $$
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

-- conferred returns the permissions that these roles confer, inherited ones
-- included; the zero id means what it means in held.
create function poolproof.conferred(tenant uuid, role_ids int[])
returns table (permission_id uuid)
language plpgsql stable parallel safe rows 30 set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    return query
    with lineage (role_id) as materialized (
        select unnest(conferred.role_ids)
        union
        select a.role_id from poolproof.ancestors(conferred.tenant, conferred.role_ids) a
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

-- heirs returns the roles that inherit from this role, over any number of steps.
create function poolproof.heirs(tenant uuid, role int)
returns table (role_id int)
language plpgsql stable parallel safe rows 10 set search_path = pg_catalog, pg_temp as $$
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

-- has_keeper reports whether a tenant has an active member who holds a permission
-- through an assignment without expiry.
create function poolproof.has_keeper(tenant uuid, permission text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
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

-- refused returns why a user may not read in a tenant, or null if they may. An
-- empty permission asks for membership only.
create function poolproof.refused(tenant uuid, caller uuid, permission text) returns text
language plpgsql stable parallel restricted set search_path = pg_catalog, pg_temp as $$
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

-- lock_tenant is the first statement of every write. It returns why the caller may
-- not write, or null if they may, and then locks the tenant's row until the
-- transaction ends. home is the tenant that the request is for: the same tenant,
-- or the caller's own where the platform tenant is written.
--
-- A refused caller locks nothing, takes no transaction id and waits for nobody. A
-- refused caller also loses the scope, so the following statements of the pipeline
-- see and change no row of the tenant, even if the permission was granted in the
-- meantime. For all others the statement that changes checks again: its snapshot
-- is taken after the lock.
create function poolproof.lock_tenant(tenant uuid, caller uuid, permission text, home uuid) returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    refusal text;
begin
    if not poolproof.is_member(home, caller) then
        refusal := 'not_a_member';
    elsif not exists (
        select from poolproof.held(tenant, caller) h
        join poolproof.permissions p on p.id = h.permission_id
        where p.name = lock_tenant.permission) then
        refusal := 'forbidden';
    end if;
    if refusal is null then
        perform from poolproof.tenants t where t.id = lock_tenant.tenant for no key update;
    else
        perform set_config('app.current_tenant_id', '', true);
    end if;
    return refusal;
end
$$;

-- keep_entry reports whether a feature or a permission has this id, and keeps it from
-- being deleted until the transaction ends. Without it a write of a tenant would lock
-- its epoch and then wait for a feature that another transaction deletes,
-- while that transaction waits for the epoch: a deadlock. It runs as its owner,
-- because a tenant may not lock rows of a catalogue.
create function poolproof.keep_entry(entry uuid) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from poolproof.features f where f.id = keep_entry.entry for key share;
    if not found then
        perform from poolproof.permissions p where p.id = keep_entry.entry for key share;
    end if;
    return found;
end
$$;

-- raise_epochs raises the epoch of each of these tenants, once per transaction.
-- It runs as its owner, the only role that may write epochs. Triggers call it, and
-- raise_epoch_in_scope; the service may not.
create function poolproof.raise_epochs(tenants uuid[]) returns void
language sql security definer
set search_path = pg_catalog, pg_temp as $$
    insert into poolproof.epochs as e (tenant_id, raised_in)
    select distinct t.id, pg_current_xact_id() from unnest(tenants) t (id) order by t.id
    on conflict (tenant_id) do update set epoch = e.epoch + 1, raised_in = excluded.raised_in
    where e.raised_in is distinct from excluded.raised_in;
$$;

-- raise_epoch_in_scope raises the epoch of the scope's tenant or of the
-- catalogues, and refuses any other.
create function poolproof.raise_epoch_in_scope(tenant uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if tenant is distinct from nullif(current_setting('app.current_tenant_id', true), '')::uuid
        and tenant is distinct from '00000000-0000-0000-0000-000000000000' then
        raise exception using errcode = 'insufficient_privilege', message = 'the epoch of a tenant can only be raised in the scope of that tenant';
    end if;
    perform poolproof.raise_epochs(array[tenant]);
end
$$;

-- epoch_after returns the tenant's epoch and the catalogues' as "tenant.catalogue",
-- after what the calling statement has changed. Triggers fire only when that
-- statement has ended, so it raises the epoch itself, before them.
create function poolproof.epoch_after(tenant uuid, changed boolean) returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if changed then
        perform poolproof.raise_epoch_in_scope(tenant);
    end if;
    return coalesce((select e.epoch from poolproof.epochs e where e.tenant_id = tenant), 0) || '.'
        || coalesce((select e.epoch from poolproof.epochs e where e.tenant_id = '00000000-0000-0000-0000-000000000000'), 0);
end
$$;

-- catalogue_epoch_after does the same for what belongs to no tenant; the tenant's
-- part is 0.
create function poolproof.catalogue_epoch_after(changed boolean) returns text
language sql volatile
set search_path = pg_catalog, pg_temp as $$
    select '0.' || split_part(poolproof.epoch_after('00000000-0000-0000-0000-000000000000', changed), '.', 2);
$$;
