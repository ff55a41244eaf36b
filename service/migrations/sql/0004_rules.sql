-- Rules that hold for every writer: the service, an import, an operator. Where it
-- can be, a rule is a trigger per statement that checks the rows that the statement
-- changed, so a change of many rows costs one check.
--
-- Triggers fire in the order of their names: epoch_* before rule_*. Raising the
-- epoch locks the tenant's row in epochs until the transaction ends. So where two
-- writers would break a rule only together, the second waits for the first, and
-- its rules see what the first did. (Above read committed the second fails with
-- 40001 instead.)
--
-- A broken rule has an SQLSTATE of its own:
--   PR001  nobody would be left who manages roles, or tenants on the platform
--   PR002  a role would inherit from itself
--   PR003  a seeded entry would be renamed or deleted
--   PR004  a bound would be exceeded

-- raise_epoch raises the epochs of the tenants whose rows changed.
create function poolproof.raise_epoch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform poolproof.raise_epochs(array(select c.tenant_id from changed c));
    return null;
end
$$;

-- raise_epoch_of_tenant does the same for the table tenants. An update counts only if
-- it changes the name or the slug: no cache depends on next_role_id.
create function poolproof.raise_epoch_of_tenant() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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

-- raise_catalogue_epoch raises the catalogues' epoch if any row changed.
create function poolproof.raise_catalogue_epoch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from changed) then
        perform poolproof.raise_epochs(array['00000000-0000-0000-0000-000000000000'::uuid]);
    end if;
    return null;
end
$$;

-- number_audit_row numbers the rows of a tenant's audit log. The writer holds the
-- tenant's lock.
create function poolproof.number_audit_row() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.id := coalesce((select max(a.id) from poolproof.audit_log a where a.tenant_id = new.tenant_id), 0) + 1;
    return new;
end
$$;

-- keep_a_manager: a changed tenant that still exists keeps somebody who manages its
-- roles, and the platform somebody who manages tenants.
create function poolproof.keep_a_manager() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if exists (
        select from (select distinct c.tenant_id from changed c) touched
        join poolproof.tenants t on t.id = touched.tenant_id
        where not poolproof.has_keeper(t.id, 'manage_roles')
    ) then
        raise exception using errcode = 'PR001',
            message = 'the tenant would be left without an active holder of manage_roles';
    end if;
    if exists (
        select from changed c join poolproof.platform p on p.id = c.tenant_id
    ) and not poolproof.has_keeper((select p.id from poolproof.platform p), 'manage_tenants') then
        raise exception using errcode = 'PR001',
            message = 'the platform would be left without an active holder of manage_tenants';
    end if;
    return null;
end
$$;

-- no_cycle: no role inherits from itself. It checks each role that got a parent
-- once.
create function poolproof.no_cycle() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if exists (
        select from (select distinct c.tenant_id, c.role_id from changed c) c
        where c.role_id in (select a.role_id from poolproof.ancestors(c.tenant_id, array[c.role_id]) a)
    ) then
        raise exception using errcode = 'PR002', message = 'a role would inherit from itself';
    end if;
    return null;
end
$$;

-- keep_seeded: what came with a migration keeps its name and is not deleted.
create function poolproof.keep_seeded() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' and old.seeded
        or tg_op = 'UPDATE' and old.seeded and (new.name, new.id, new.seeded) is distinct from (old.name, old.id, old.seeded) then
        raise exception using errcode = 'PR003',
            message = format('%s is part of the product: it cannot be renamed or deleted', old.name);
    end if;
    return case tg_op when 'DELETE' then old else new end;
end
$$;

-- within fails if more were counted than the bound allows; %s in the message is the bound.
create function poolproof.within(counted bigint, bound int, message text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if counted > bound then
        raise exception using errcode = 'PR004', message = format(message, bound);
    end if;
end
$$;

-- bound_roles, bound_parents and bound_assignments hold a tenant to
-- poolproof.bounds. They count under the lock of the tenant, which every write of
-- the service takes.
create function poolproof.bound_roles() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform poolproof.within((select count(*) from poolproof.roles r where r.tenant_id = t.tenant_id),
        b.roles, 'A tenant has at most %s roles.')
    from poolproof.bounds b, (select distinct c.tenant_id from changed c) t;
    return null;
end
$$;

create function poolproof.bound_assignments() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform poolproof.within((select count(*) from poolproof.user_roles u where u.tenant_id = m.tenant_id and u.user_id = m.user_id),
        b.assignments, 'A user has at most %s roles in a tenant.')
    from poolproof.bounds b, (select distinct c.tenant_id, c.user_id from changed c) m;
    return null;
end
$$;

create function poolproof.bound_parents() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    allowed poolproof.bounds;
    line record;
begin
    select * into allowed from poolproof.bounds;
    for line in select distinct c.tenant_id, c.role_id from changed c loop
        perform poolproof.within(count(*), allowed.parents, 'A role inherits from at most %s others.')
        from poolproof.role_parents i
        where i.tenant_id = line.tenant_id and i.role_id = line.role_id;
        -- The longest line through this role: the steps above it plus the steps below it.
        perform poolproof.within((
            with recursive up (role_id, step) as (
                select line.role_id, 0
                union
                select i.parent_id, up.step + 1
                from up
                join poolproof.role_parents i on i.tenant_id = line.tenant_id and i.role_id = up.role_id
                where up.step <= allowed.depth
            ), down (role_id, step) as (
                select line.role_id, 0
                union
                select i.role_id, down.step + 1
                from down
                join poolproof.role_parents i on i.tenant_id = line.tenant_id and i.parent_id = down.role_id
                where down.step <= allowed.depth
            )
            select (select max(up.step) from up) + (select max(down.step) from down)
        ), allowed.depth, 'Roles inherit over at most %s steps.');
    end loop;
    return null;
end
$$;

-- The triggers per statement: which function a statement calls that inserts,
-- updates or deletes in these tables, and whether it sees the new or the old rows
-- as "changed". rule_depth sorts after rule_cycle: a cycle is reported as a cycle,
-- not as too many steps.
do $$
declare
    made record;
begin
    for made in
        select t.name || '_' || e.event as name, e.event, e.rows, t.function, on_table
        from (values
            ('epoch', 'raise_epoch', 'new', 'new', 'old',
                '{profiles,roles,role_permissions,role_parents,user_roles,tenant_features}'::text[]),
            ('epoch', 'raise_catalogue_epoch', 'new', 'new', 'old', '{permissions,features,sidebar_items}'),
            ('epoch', 'raise_epoch_of_tenant', 'new', 'old table as before new', 'old', '{tenants}'),
            ('rule_manager', 'keep_a_manager', null, 'old', 'old',
                '{profiles,roles,role_permissions,role_parents,user_roles}'),
            ('rule_cycle', 'no_cycle', 'new', 'new', null, '{role_parents}'),
            ('rule_depth', 'bound_parents', 'new', 'new', null, '{role_parents}'),
            ('rule_bound', 'bound_roles', 'new', null, null, '{roles}'),
            ('rule_bound', 'bound_assignments', 'new', null, null, '{user_roles}')
        ) t (name, function, inserted, updated, deleted, tables),
        lateral (values ('insert', t.inserted), ('update', t.updated), ('delete', t.deleted)) e (event, rows),
        unnest(t.tables) on_table
        where e.rows is not null
    loop
        execute format('create trigger %I after %s on poolproof.%I referencing %s table as changed
            for each statement execute function poolproof.%I()', made.name, made.event, made.on_table, made.rows, made.function);
    end loop;
end
$$;

create trigger keep_seeded before update or delete on poolproof.permissions
    for each row execute function poolproof.keep_seeded();

create trigger keep_seeded before update or delete on poolproof.features
    for each row execute function poolproof.keep_seeded();

create trigger number_audit_row before insert on poolproof.audit_log
    for each row execute function poolproof.number_audit_row();
