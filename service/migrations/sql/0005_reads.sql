-- The reads of the pages that every user opens. They are PL/pgSQL because its plans
-- stay on the server connection. A statement that reaches PostgreSQL unnamed, as it
-- must through a pooler that does not track prepared statements, is planned each
-- time (measured: two thirds of the cost of such a read). They run with the
-- caller's rights, so row-level security holds inside.
--
-- The first column is the verdict: row, empty, not_a_member or forbidden. Only a
-- row has further columns. needed is the permission that the caller needs, or '' if
-- membership is enough.

-- read_features returns every feature of the catalogue with the tenant's setting,
-- or with the default where the tenant has none.
create function poolproof.read_features(tenant uuid, caller uuid, needed text)
returns table (verdict text, name text, enabled boolean)
language plpgsql stable rows 10 set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    verdict := poolproof.refused(read_features.tenant, read_features.caller, read_features.needed);
    return query
    select 'row', f.name, coalesce(t.enabled, f.default_enabled)
    from poolproof.features f
    left join poolproof.tenant_features t on t.tenant_id = read_features.tenant and t.feature_id = f.id
    where verdict is null;
    if not found then
        verdict := coalesce(verdict, 'empty');
        return next;
    end if;
end
$$;

-- read_roles returns the tenant's roles by id: at most size, whose ids come after
-- the given one. parent_ids are the roles from which a role inherits directly.
create function poolproof.read_roles(tenant uuid, caller uuid, needed text, after int, size int)
returns table (verdict text, id int, name text, description text, tenant_id uuid, system boolean, created_at timestamptz,
    holds_all boolean, parent_ids int[])
language plpgsql stable rows 10 set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    verdict := poolproof.refused(read_roles.tenant, read_roles.caller, read_roles.needed);
    return query
    select 'row', r.id, r.name, r.description, r.tenant_id, r.system, r.created_at, r.holds_all,
        array(select i.parent_id from poolproof.role_parents i
            where i.tenant_id = read_roles.tenant and i.role_id = r.id order by i.parent_id)
    from poolproof.roles r
    where verdict is null and r.tenant_id = read_roles.tenant and r.id > read_roles.after
    order by r.id
    limit read_roles.size;
    if not found then
        verdict := coalesce(verdict, 'empty');
        return next;
    end if;
end
$$;

-- read_sidebar returns the items that the caller sees, those whose gates all hold,
-- in display order.
create function poolproof.read_sidebar(tenant uuid, caller uuid, needed text)
returns table (verdict text, id uuid, title text, icon text, url_path text, feature_id uuid, permission text, group_name text, display_order int)
language plpgsql stable rows 20 set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    verdict := poolproof.refused(read_sidebar.tenant, read_sidebar.caller, read_sidebar.needed);
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
    where verdict is null
      and (s.feature_id is null or coalesce(t.enabled, f.default_enabled))
      and (s.permission is null or s.permission in (select mine.name from mine))
    order by s.display_order, s.title, s.id;
    if not found then
        verdict := coalesce(verdict, 'empty');
        return next;
    end if;
end
$$;
