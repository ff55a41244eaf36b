-- What triggers write beyond the scope. A change of one tenant's rows may be
-- made under another scope, or none: the catalogue's administrator deletes a
-- feature that tenants have set, an operator mends rows as superuser. The
-- triggers that raise epochs run as their owner, whom forced row-level security
-- binds, so the owner needs a policy for every tenant's epoch. An epoch is a
-- number; no row of a tenant becomes visible or writable by this.
drop policy owner on poolproof.epochs;

create policy owner on poolproof.epochs to current_user using (true) with check (true);

-- So raise_epochs is the triggers' only, and what the service's statements ask
-- for ahead of the triggers is raised by a function that keeps to the scope.
revoke execute on function poolproof.raise_epochs(uuid[]) from poolproof_runtime;

create function poolproof.raise_epoch_in_scope(tenant uuid) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
    if tenant is distinct from nullif(current_setting('app.current_tenant_id', true), '')::uuid
        and tenant is distinct from '00000000-0000-0000-0000-000000000000' then
        raise exception using errcode = 'insufficient_privilege', message = 'the epoch of a tenant is raised in its scope only';
    end if;
    perform poolproof.raise_epochs(array[tenant]);
end
$$;

-- epoch_after and catalogue_epoch_after of 0008 anew: they call that.
create or replace function poolproof.epoch_after(tenant uuid, changed boolean) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp as $$
begin
    if changed then
        perform poolproof.raise_epoch_in_scope(tenant);
    end if;
    return coalesce((select e.epoch from poolproof.epochs e where e.tenant_id = tenant), 0) || '.'
        || coalesce((select e.epoch from poolproof.epochs e where e.tenant_id = '00000000-0000-0000-0000-000000000000'), 0);
end
$$;

create or replace function poolproof.catalogue_epoch_after(changed boolean) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp as $$
begin
    if changed then
        perform poolproof.raise_epoch_in_scope('00000000-0000-0000-0000-000000000000');
    end if;
    return '0.' || (select e.epoch from poolproof.epochs e where e.tenant_id = '00000000-0000-0000-0000-000000000000');
end
$$;

revoke all on function poolproof.raise_epoch_in_scope(uuid) from public;

grant execute on function poolproof.raise_epoch_in_scope(uuid) to poolproof_runtime;
