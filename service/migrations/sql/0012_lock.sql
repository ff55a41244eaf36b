-- Membership before the lock. lock_tenant is the first statement of every
-- write: why the caller may not write, null if they may, and then the tenant's
-- row is locked until the transaction's end. home is the tenant that the
-- request is for: the same, or for what the platform writes the caller's own.
--
-- Whoever is refused locks nothing, takes no transaction id and waits for
-- nobody, and loses the scope: the statements after it in the pipeline see and
-- change no row of the tenant, whether the tenant is there or not, also where
-- the right was given in the meantime. Whoever is not refused is asked again
-- by the statement that changes, whose snapshot is taken after the lock.
create function poolproof.lock_tenant(tenant uuid, caller uuid, permission text, home uuid) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp as $$
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

revoke all on function poolproof.lock_tenant(uuid, uuid, text, uuid) from public;

grant execute on function poolproof.lock_tenant(uuid, uuid, text, uuid) to poolproof_runtime;
