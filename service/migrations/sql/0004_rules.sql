-- Rules that hold whoever writes. Each is a trigger per statement with the
-- rows it touched, so that a change of many rows costs one check.
--
-- The names order them: epoch_* fire before rule_*. Raising the epoch locks
-- the tenant's row in epochs until the transaction ends, so of two writers
-- that would break a rule only together, the second waits, and its rules then
-- see what the first did. (Above read committed it fails with 40001 instead.)

-- As its owner: nobody else may write epochs.
create function poolproof.raise_epoch() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    insert into poolproof.epochs as e (tenant_id)
    select distinct c.tenant_id from changed c order by c.tenant_id
    on conflict (tenant_id) do update set epoch = e.epoch + 1;
    return null;
end
$$;

-- The counter of role ids is no news to anybody.
create function poolproof.raise_epoch_of_tenant() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'UPDATE' then
        insert into poolproof.epochs as e (tenant_id)
        select n.id from changed n join before b on b.id = n.id
        where (n.name, n.slug) is distinct from (b.name, b.slug)
        order by n.id
        on conflict (tenant_id) do update set epoch = e.epoch + 1;
    else
        insert into poolproof.epochs as e (tenant_id)
        select c.id from changed c order by c.id
        on conflict (tenant_id) do update set epoch = e.epoch + 1;
    end if;
    return null;
end
$$;

create function poolproof.raise_catalogue_epoch() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    insert into poolproof.epochs as e (tenant_id)
    select '00000000-0000-0000-0000-000000000000'
    where exists (select from changed)
    on conflict (tenant_id) do update set epoch = e.epoch + 1;
    return null;
end
$$;

-- keep_a_manager: a tenant that is touched and still there has an active
-- member who holds manage_roles through an assignment without expiry.
create function poolproof.keep_a_manager() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if exists (
        select from (select distinct c.tenant_id from changed c) touched
        join poolproof.tenants t on t.id = touched.tenant_id
        where not exists (
            with recursive source (role_id) as (
                select rp.role_id
                from poolproof.role_permissions rp
                join poolproof.permissions p on p.id = rp.permission_id
                where rp.tenant_id = t.id and p.name = 'manage_roles'
                union
                select r.id from poolproof.roles r where r.tenant_id = t.id and r.holds_all
                union
                select i.role_id
                from source
                join poolproof.role_parents i on i.tenant_id = t.id and i.parent_id = source.role_id
            )
            select from source
            join poolproof.user_roles u on u.tenant_id = t.id and u.role_id = source.role_id and u.expires_at is null
            join poolproof.profiles m on m.tenant_id = t.id and m.user_id = u.user_id and m.active
        )
    ) then
        raise exception using errcode = 'PP001',
            message = 'the tenant would be left without an active holder of manage_roles';
    end if;
    return null;
end
$$;

-- no_cycle: no role inherits from itself.
create function poolproof.no_cycle() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if exists (
        select from changed c
        where c.role_id in (select a.role_id from poolproof.ancestors(c.tenant_id, array[c.role_id]) a)
    ) then
        raise exception using errcode = 'PP002', message = 'a role would inherit from itself';
    end if;
    return null;
end
$$;

-- keep_seeded: what came with a migration keeps its name and stays.
create function poolproof.keep_seeded() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' and old.seeded
        or tg_op = 'UPDATE' and old.seeded and (new.name, new.id, new.seeded) is distinct from (old.name, old.id, old.seeded) then
        raise exception using errcode = 'PP003',
            message = format('%s is part of the product: it is neither renamed nor deleted', old.name);
    end if;
    return case tg_op when 'DELETE' then old else new end;
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

insert into poolproof.epochs (tenant_id) values ('00000000-0000-0000-0000-000000000000');
