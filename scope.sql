-- The settings of a scope as one parameter of the caller's own statement. The
-- library binds a value of this domain beside the caller's arguments, to a
-- parameter that the statement does not name; PostgreSQL then checks the value
-- in the statement's transaction, before the statement is planned, and the
-- check makes the settings. A value is an array of names and values in turn:
-- {app.current_tenant_id,<tenant>,app.current_user_id,<user>,…}, so that the
-- domain knows no names.
--
-- The text is idempotent, writes every name with its schema, operators' and types'
-- too (a function's are looked up when it runs, in the caller's search_path, where
-- somebody may have put another <>), and gives nobody anything: set_config is
-- everybody's, too. It is 0009 once more, where make_scope's operators had no
-- schema. A domain that 0009 made stays: the operators of a check are looked up
-- once, when it is made. Never alter the domain or its constraint: programs that
-- run trust the type by its number. To be rid of it, drop it (drop schema
-- poolproof cascade, where nothing else is in it); programs go on with
-- a statement of their own.

create schema if not exists poolproof;

-- The way of a scope that has more than tenant and user to set, or that finds
-- the tenant set already. Then it tells the client, and only it (info is sent
-- whatever client_min_messages says), and never whose tenant it was.
create or replace function poolproof.make_scope(pairs pg_catalog.text[]) returns pg_catalog.bool
language plpgsql as $$
begin
    if pg_catalog.current_setting(pairs[1], true) operator(pg_catalog.<>) '' then
        raise info using errcode = 'PP900', message = pg_catalog.format('%s was set when the transaction began', pairs[1]),
            detail = pg_catalog.pg_backend_pid();
    end if;
    for i in 1 .. pg_catalog.cardinality(pairs) by 2 loop
        perform pg_catalog.set_config(pairs[i], pairs[i operator(pg_catalog.+) 1], true);
    end loop;
    return true;
end
$$;

grant execute on function poolproof.make_scope(pg_catalog.text[]) to public;

-- CASE, because it promises an order: whether the tenant is set already is
-- read before anything is set. Tenant and user are set here, which costs less
-- than the function does. A check that gives null would pass, so this one
-- never does.
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
