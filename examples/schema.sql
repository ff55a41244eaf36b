-- What the examples read and write. The owner runs it; the programs' login may
-- only do what is granted here.
create table tenants ( -- which tenants there are: everybody may see that here
    id   uuid primary key,
    name text not null
);

create table documents (
    tenant_id uuid not null default nullif(current_setting('app.current_tenant_id', true), '')::uuid references tenants,
    id        bigint generated always as identity,
    title     text not null,
    meta      jsonb not null default '{}',
    primary key (tenant_id, id)
);

alter table documents enable row level security;
alter table documents force row level security;
create policy tenant on documents
    using      (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid))
    with check (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
