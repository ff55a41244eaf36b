-- A role tells which roles it inherits from and whether it holds all, so that
-- whoever shows roles can say where a permission comes from.
drop function poolproof.read_roles(uuid, uuid, text, int, int);

create function poolproof.read_roles(tenant uuid, caller uuid, needed text, after int, size int)
returns table (verdict text, id int, name text, description text, tenant_id uuid, system boolean, created_at timestamptz,
    holds_all boolean, parent_ids int[])
language plpgsql stable rows 10 as $$
#variable_conflict use_column
begin
    verdict := poolproof.refused(read_roles.tenant, read_roles.caller, read_roles.needed);
    if verdict is null then
        return query
        select 'row', r.id, r.name, r.description, r.tenant_id, r.system, r.created_at, r.holds_all,
            array(select i.parent_id from poolproof.role_parents i
                where i.tenant_id = read_roles.tenant and i.role_id = r.id order by i.parent_id)
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

revoke all on function poolproof.read_roles(uuid, uuid, text, int, int) from public;

grant execute on function poolproof.read_roles(uuid, uuid, text, int, int) to poolproof_runtime;
