-- Installs what poolproof.ScopeParameter needs: the domain poolproof.scope, which
-- carries the settings of a scope as one parameter of the caller's own statement.
--
-- The library binds a value of this domain after the caller's arguments, to a
-- parameter that the statement does not name. PostgreSQL checks the value in the
-- statement's transaction, before it plans the statement, and the check makes the
-- settings. A value is an array of names and values in turn:
-- {app.current_tenant_id,<tenant>,app.current_user_id,<user>,…}. So the domain
-- depends on no setting's name.
--
-- Running it again replaces an older version's function and changes nothing else. It
-- lets nobody do what they could not do before: everybody may call set_config. Do
-- not alter the domain or its constraint while programs run: they know the type by
-- its OID. To remove it, drop it (drop schema poolproof cascade, if nothing else is
-- in that schema); programs then send the settings as a separate statement.

create schema if not exists poolproof;

-- make_scope makes the settings where there are more than tenant and user, or where
-- the tenant is set already. The latter it reports to the client, and to nobody
-- else: INFO reaches the client whatever client_min_messages says. The report never
-- says whose tenant it was. Operators and types are written with their schema,
-- because the function runs in the caller's search_path, where another schema may
-- have a <> of its own. A search_path of its own would make each call dearer.
create or replace function poolproof.make_scope(pairs pg_catalog.text[]) returns pg_catalog.bool
language plpgsql as $$
begin
    if pg_catalog.current_setting(pairs[1], true) operator(pg_catalog.<>) '' then
        raise info using errcode = 'PR900', message = pg_catalog.format('%s was set when the transaction began', pairs[1]),
            detail = pg_catalog.pg_backend_pid();
    end if;
    for i in 1 .. pg_catalog.cardinality(pairs) by 2 loop
        perform pg_catalog.set_config(pairs[i], pairs[i operator(pg_catalog.+) 1], true);
    end loop;
    return true;
end
$$;

grant execute on function poolproof.make_scope(pg_catalog.text[]) to public;

-- CASE guarantees the order: the check looks whether the tenant is set before it
-- sets anything. It sets tenant and user itself, which costs less than calling the
-- function. A check that returns null passes, so this one never returns null.
do $do$
begin
    if not exists (select from pg_catalog.pg_type where typname operator(pg_catalog.=) 'scope' and typnamespace operator(pg_catalog.=) 'poolproof'::pg_catalog.regnamespace) then
        create domain poolproof.scope as pg_catalog.text[] not null constraint scope_v1 check (
            case
                when pg_catalog.current_setting(value[1], true) operator(pg_catalog.<>) '' or pg_catalog.cardinality(value) operator(pg_catalog.>) 4
                then poolproof.make_scope(value) is true
                else pg_catalog.set_config(value[1], value[2], true) is not null
                    and pg_catalog.set_config(value[3], value[4], true) is not null
            end);
    end if;
end
$do$;
