-- ScopeSQL before it wrote the schema of operators and types.
create schema if not exists poolproof;

create or replace function poolproof.make_scope(pairs text[]) returns boolean
language plpgsql as $$
begin
    if pg_catalog.current_setting(pairs[1], true) <> '' then
        raise info using errcode = 'PR900', message = pg_catalog.format('%s was set when the transaction began', pairs[1]),
            detail = pg_catalog.pg_backend_pid();
    end if;
    for i in 1 .. pg_catalog.cardinality(pairs) by 2 loop
        perform pg_catalog.set_config(pairs[i], pairs[i + 1], true);
    end loop;
    return true;
end
$$;

grant execute on function poolproof.make_scope(text[]) to public;

do $do$
begin
    if not exists (select from pg_catalog.pg_type where typname = 'scope' and typnamespace = 'poolproof'::pg_catalog.regnamespace) then
        create domain poolproof.scope as text[] not null constraint scope_v1 check (
            case
                when pg_catalog.current_setting(value[1], true) <> '' or pg_catalog.cardinality(value) > 4
                then poolproof.make_scope(value) is true
                else pg_catalog.set_config(value[1], value[2], true) is not null
                    and pg_catalog.set_config(value[3], value[4], true) is not null
            end);
    end if;
end
$do$;
