-- +goose Up
create table notes (
    tenant_id uuid not null default nullif(current_setting('app.current_tenant_id', true), '')::uuid,
    id        bigint generated always as identity,
    body      text not null,
    primary key (tenant_id, id)
);
alter table notes enable row level security;
alter table notes force row level security;
create policy tenant on notes
    using      (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid))
    with check (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));

-- +goose Down
drop table notes;
