-- The settings of a scope as one parameter of the caller's own statement. The
-- library binds a value of this domain beside the caller's arguments, to a
-- parameter that the statement does not name; PostgreSQL then checks the value
-- in the statement's transaction, before the statement is planned, and the
-- check makes the settings. A value is an array of names and values in turn:
-- {app.current_tenant_id,<tenant>,app.current_user_id,<user>,…}, so that the
-- domain knows no names.
--
-- The text is idempotent, writes every name with its schema and gives nobody
-- anything: set_config is everybody's, too. Never alter the domain or its
-- constraint: programs that run trust the type by its number. To be rid of it,
-- drop it (drop schema poolproof cascade, where nothing else is in it);
-- programs go on with a statement of their own.

create schema if not exists poolproof;

-- Tells the client, and only it, of a tenant that the transaction found set:
-- info is sent whatever client_min_messages says. Never the tenant itself.
create or replace function poolproof.scope_leaked(name text) returns boolean
language plpgsql as $$
begin
    raise info using errcode = 'PP900', message = pg_catalog.format('%s was set when the transaction began', name),
        detail = pg_catalog.pg_backend_pid();
    return true;
end
$$;

-- Makes the settings from the third on.
create or replace function poolproof.scope_further(pairs text[]) returns boolean
language plpgsql as $$
begin
    for i in 5 .. pg_catalog.cardinality(pairs) by 2 loop
        perform pg_catalog.set_config(pairs[i], pairs[i + 1], true);
    end loop;
    return true;
end
$$;

grant execute on function poolproof.scope_leaked(text), poolproof.scope_further(text[]) to public;

-- CASE, because it alone promises an order: the canary reads before anything is
-- set. The first two settings, the tenant and the user, are made here, which
-- costs half of what a function does. A check that gives null would pass, so
-- none does.
do $do$
begin
    if not exists (select from pg_catalog.pg_type where typname = 'scope' and typnamespace = 'poolproof'::pg_catalog.regnamespace) then
        create domain poolproof.scope as text[] not null constraint scope_v1 check (
            case
                when case when pg_catalog.current_setting(value[1], true) <> '' then poolproof.scope_leaked(value[1]) else true end
                then case
                    when pg_catalog.set_config(value[1], value[2], true) is null then false
                    when pg_catalog.set_config(value[3], value[4], true) is null then false
                    when pg_catalog.cardinality(value) > 4 then poolproof.scope_further(value) is true
                    else true
                end
                else false
            end);
    end if;
end
$do$;
