-- What the programs work on, 16 tenants with 10 rows each: items by id, which only the program keeps apart,
-- and documents and notes, which row-level security keeps apart by app.tenant.
create table items (id int primary key, tenant text not null, name text not null);
insert into items select n, 'tenant ' || n % 16, 'item ' || n from generate_series(0, 159) n;
create table written (tenant text, op text, value text not null, primary key (tenant, op));
create table documents (id int primary key, tenant text not null);
insert into documents select n, 'tenant ' || n % 16 from generate_series(0, 159) n;
create table notes (tenant text not null default current_setting('app.tenant', true), op text, value text not null, primary key (tenant, op));
alter table documents enable row level security;
alter table notes enable row level security;
create policy tenant on documents using (tenant = (select nullif(current_setting('app.tenant', true), '')));
create policy tenant on notes using (tenant = (select nullif(current_setting('app.tenant', true), '')))
	with check (tenant = (select nullif(current_setting('app.tenant', true), '')));
grant select, insert on items, written, documents, notes to matrix;
