-- Row-level security. It is forced on every table, so the owner obeys it, too. The
-- sub-select makes PostgreSQL read the setting once per statement. nullif is there
-- because a setting that was set locally once reads '' afterwards, not null.
--
-- Without a tenant, or with an empty one, a statement sees no row of any tenant.
-- A tenant that is no UUID is an error.

do $$
declare
    t text;
begin
    foreach t in array array['schema_migrations', 'tenants', 'platform', 'profiles', 'roles', 'permissions', 'role_permissions',
        'role_parents', 'user_roles', 'features', 'tenant_features', 'sidebar_items', 'epochs', 'audit_log', 'bounds'] loop
        execute format('alter table poolproof.%I enable row level security', t);
        execute format('alter table poolproof.%I force row level security', t);
    end loop;
    foreach t in array array['profiles', 'roles', 'role_permissions', 'role_parents', 'user_roles', 'tenant_features', 'epochs'] loop
        execute format('create policy tenant on poolproof.%I
            using (tenant_id = (select nullif(current_setting(''app.current_tenant_id'', true), '''')::uuid))
            with check (tenant_id = (select nullif(current_setting(''app.current_tenant_id'', true), '''')::uuid))', t);
    end loop;
    -- Catalogues: everybody reads them; the platform tenant writes them, and so does
    -- the owner, in later migrations.
    foreach t in array array['permissions', 'features', 'sidebar_items'] loop
        execute format('create policy everybody on poolproof.%I for select using (true)', t);
        execute format('create policy platform on poolproof.%I
            using ((select p.id from poolproof.platform p) = (select nullif(current_setting(''app.current_tenant_id'', true), '''')::uuid))
            with check ((select p.id from poolproof.platform p) = (select nullif(current_setting(''app.current_tenant_id'', true), '''')::uuid))', t);
        execute format('create policy owner on poolproof.%I to current_user using (true) with check (true)', t);
    end loop;
    -- Everybody reads these, and only the owner writes them.
    foreach t in array array['platform', 'bounds'] loop
        execute format('create policy everybody on poolproof.%I for select using (true)', t);
        execute format('create policy owner on poolproof.%I to current_user using (true) with check (true)', t);
    end loop;
end
$$;

create policy everybody on poolproof.schema_migrations for select using (true);

create policy owner on poolproof.schema_migrations for insert to current_user with check (true);

create policy tenant on poolproof.tenants
    using (id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid))
    with check (id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));

-- Users see their own memberships, and the tenants in which these are active, so
-- that they can choose one.
create policy own on poolproof.profiles for select
    using (user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid));

create policy own on poolproof.tenants for select
    using (id in (
        select m.tenant_id from poolproof.profiles m
        where m.user_id = (select nullif(current_setting('app.current_user_id', true), '')::uuid) and m.active));

-- The platform tenant sees all tenants, but nothing in them.
create policy platform on poolproof.tenants for select
    using ((select p.id from poolproof.platform p) = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));

-- app.watch_tenants is an array as text, such as {a,b}: the further tenants whose
-- epochs a cache follows.
create policy watched on poolproof.epochs for select
    using (tenant_id = any ((select nullif(current_setting('app.watch_tenants', true), '')::uuid[])::uuid[]));

create policy catalogue on poolproof.epochs for select
    using (tenant_id = '00000000-0000-0000-0000-000000000000');

-- The triggers that raise epochs run as their owner, whom forced row-level security
-- binds, and raise the epoch of tenants other than the scope's: when the platform
-- deletes a feature that tenants have set, or a superuser mends rows without a
-- scope. An epoch is a number; the policy shows no other row of a tenant.
create policy owner on poolproof.epochs to current_user using (true) with check (true);

create policy tenant_reads on poolproof.audit_log for select
    using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));

create policy tenant_appends on poolproof.audit_log for insert
    with check (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
