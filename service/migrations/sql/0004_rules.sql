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
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    perform poolproof.raise_epochs(array(select c.tenant_id from changed c));
    return null;
end
$$;

-- raise_epoch_of_tenant does the same for the table tenants. An update counts only if
-- it changes the name or the slug: no cache depends on next_role_id.
create function poolproof.raise_epoch_of_tenant() returns trigger
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

-- raise_catalogue_epoch raises the catalogues' epoch if any row changed.
create function poolproof.raise_catalogue_epoch() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
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
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    new.id := coalesce((select max(a.id) from poolproof.audit_log a where a.tenant_id = new.tenant_id), 0) + 1;
    return new;
end
$$;

-- keep_a_manager: a changed tenant that still exists keeps somebody who manages its
-- roles, and the platform somebody who manages tenants.
create function poolproof.keep_a_manager() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
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
language plpgsql
set search_path = pg_catalog, pg_temp as $$
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
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' and old.seeded
        or tg_op = 'UPDATE' and old.seeded and (new.name, new.id, new.seeded) is distinct from (old.name, old.id, old.seeded) then
        raise exception using errcode = 'PR003',
            message = format('%s is part of the product: it cannot be renamed or deleted', old.name);
    end if;
    return case tg_op when 'DELETE' then old else new end;
end
$$;

-- bound_roles, bound_parents and bound_assignments hold a tenant to
-- poolproof.bounds. They count under the tenant's lock, which every write of the
-- service takes.
create function poolproof.bound_roles() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    most int := (select b.roles from poolproof.bounds b);
begin
    if exists (
        select from (select distinct c.tenant_id from changed c) t
        where (select count(*) from poolproof.roles r where r.tenant_id = t.tenant_id) > most
    ) then
        raise exception using errcode = 'PR004', message = format('A tenant has at most %s roles.', most);
    end if;
    return null;
end
$$;

create function poolproof.bound_parents() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    allowed poolproof.bounds;
    line record;
begin
    select * into allowed from poolproof.bounds;
    for line in select distinct c.tenant_id, c.role_id from changed c loop
        if (select count(*) from poolproof.role_parents i where i.tenant_id = line.tenant_id and i.role_id = line.role_id) > allowed.parents then
            raise exception using errcode = 'PR004', message = format('A role inherits from at most %s others.', allowed.parents);
        end if;
        -- The longest line through this role: the steps above it plus the steps below it.
        if (
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
        ) > allowed.depth then
            raise exception using errcode = 'PR004', message = format('Roles inherit over at most %s steps.', allowed.depth);
        end if;
    end loop;
    return null;
end
$$;

create function poolproof.bound_assignments() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
declare
    most int := (select b.assignments from poolproof.bounds b);
begin
    if exists (
        select from (select distinct c.tenant_id, c.user_id from changed c) m
        where (select count(*) from poolproof.user_roles u where u.tenant_id = m.tenant_id and u.user_id = m.user_id) > most
    ) then
        raise exception using errcode = 'PR004', message = format('A user has at most %s roles in a tenant.', most);
    end if;
    return null;
end
$$;

do $$
declare
    t text;
begin
    foreach t in array array['profiles', 'roles', 'role_permissions', 'role_parents', 'user_roles', 'tenant_features'] loop
        execute format('create trigger epoch_insert after insert on poolproof.%I referencing new table as changed
            for each statement execute function poolproof.raise_epoch()', t);
        execute format('create trigger epoch_update after update on poolproof.%I referencing new table as changed
            for each statement execute function poolproof.raise_epoch()', t);
        execute format('create trigger epoch_delete after delete on poolproof.%I referencing old table as changed
            for each statement execute function poolproof.raise_epoch()', t);
    end loop;
    foreach t in array array['profiles', 'roles', 'role_permissions', 'role_parents', 'user_roles'] loop
        execute format('create trigger rule_manager_update after update on poolproof.%I referencing old table as changed
            for each statement execute function poolproof.keep_a_manager()', t);
        execute format('create trigger rule_manager_delete after delete on poolproof.%I referencing old table as changed
            for each statement execute function poolproof.keep_a_manager()', t);
    end loop;
    foreach t in array array['permissions', 'features', 'sidebar_items'] loop
        execute format('create trigger epoch_insert after insert on poolproof.%I referencing new table as changed
            for each statement execute function poolproof.raise_catalogue_epoch()', t);
        execute format('create trigger epoch_update after update on poolproof.%I referencing new table as changed
            for each statement execute function poolproof.raise_catalogue_epoch()', t);
        execute format('create trigger epoch_delete after delete on poolproof.%I referencing old table as changed
            for each statement execute function poolproof.raise_catalogue_epoch()', t);
    end loop;
end
$$;

create trigger epoch_insert after insert on poolproof.tenants referencing new table as changed
    for each statement execute function poolproof.raise_epoch_of_tenant();

create trigger epoch_update after update on poolproof.tenants referencing new table as changed old table as before
    for each statement execute function poolproof.raise_epoch_of_tenant();

create trigger epoch_delete after delete on poolproof.tenants referencing old table as changed
    for each statement execute function poolproof.raise_epoch_of_tenant();

create trigger rule_cycle_insert after insert on poolproof.role_parents referencing new table as changed
    for each statement execute function poolproof.no_cycle();

create trigger rule_cycle_update after update on poolproof.role_parents referencing new table as changed
    for each statement execute function poolproof.no_cycle();

create trigger keep_seeded before update or delete on poolproof.permissions
    for each row execute function poolproof.keep_seeded();

create trigger keep_seeded before update or delete on poolproof.features
    for each row execute function poolproof.keep_seeded();

create trigger rule_bound_insert after insert on poolproof.roles referencing new table as changed
    for each statement execute function poolproof.bound_roles();

-- The name sorts after rule_cycle_insert: a cycle is reported as a cycle, not as
-- too many steps.
create trigger rule_depth_insert after insert on poolproof.role_parents referencing new table as changed
    for each statement execute function poolproof.bound_parents();

create trigger rule_depth_update after update on poolproof.role_parents referencing new table as changed
    for each statement execute function poolproof.bound_parents();

create trigger rule_bound_insert after insert on poolproof.user_roles referencing new table as changed
    for each statement execute function poolproof.bound_assignments();

create trigger number_audit_row before insert on poolproof.audit_log
    for each row execute function poolproof.number_audit_row();
