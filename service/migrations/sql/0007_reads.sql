-- The reads that every page makes, as PL/pgSQL: their plans stay on the server
-- connection, while a statement that reaches PostgreSQL unnamed, as it must
-- through a pooler that does not track prepared statements, is planned each
-- time (measured: two thirds of what such a read costs). They run with the
-- caller's rights, so that row-level security holds inside. The first column
-- is the verdict on the caller: row, empty or not_a_member.

create function poolproof.read_roles(tenant uuid, caller uuid)
returns table (verdict text, id int, name text, description text, tenant_id uuid, system boolean, created_at timestamptz)
language plpgsql stable rows 10 as $$
#variable_conflict use_column
begin
    if not poolproof.is_member(read_roles.tenant, read_roles.caller) then
        verdict := 'not_a_member';
        return next;
        return;
    end if;
    return query
    select 'row', r.id, r.name, r.description, r.tenant_id, r.system, r.created_at
    from poolproof.roles r
    where r.tenant_id = read_roles.tenant
    order by r.id;
    if not found then
        verdict := 'empty';
        return next;
    end if;
end
$$;

-- Every feature of the catalogue; the tenant's value, else the default.
create function poolproof.read_features(tenant uuid, caller uuid)
returns table (verdict text, name text, enabled boolean)
language plpgsql stable rows 10 as $$
#variable_conflict use_column
begin
    if not poolproof.is_member(read_features.tenant, read_features.caller) then
        verdict := 'not_a_member';
        return next;
        return;
    end if;
    return query
    select 'row', f.name, coalesce(t.enabled, f.default_enabled)
    from poolproof.features f
    left join poolproof.tenant_features t on t.tenant_id = read_features.tenant and t.feature_id = f.id;
    if not found then
        verdict := 'empty';
        return next;
    end if;
end
$$;

-- The items whose gates all hold, in display order.
create function poolproof.read_sidebar(tenant uuid, caller uuid)
returns table (verdict text, id uuid, title text, icon text, url_path text, feature_id uuid, permission text, group_name text, display_order int)
language plpgsql stable rows 20 as $$
#variable_conflict use_column
begin
    if not poolproof.is_member(read_sidebar.tenant, read_sidebar.caller) then
        verdict := 'not_a_member';
        return next;
        return;
    end if;
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
    order by s.display_order, s.title;
    if not found then
        verdict := 'empty';
        return next;
    end if;
end
$$;

revoke all on function poolproof.read_roles(uuid, uuid), poolproof.read_features(uuid, uuid), poolproof.read_sidebar(uuid, uuid) from public;

grant execute on function poolproof.read_roles(uuid, uuid), poolproof.read_features(uuid, uuid), poolproof.read_sidebar(uuid, uuid) to poolproof_runtime;
