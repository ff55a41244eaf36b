-- The original application's tables as they were dumped, with its seeds and
-- the disagreements that its documents tell of. Two tenants and a third that
-- nobody manages; the four roles on the first one only.

create schema auth;
create table auth.users (id uuid primary key);

create table public.tenants (
    id uuid primary key default gen_random_uuid(), name text not null, description text,
    is_active boolean not null default true, created_at timestamptz not null default now(), updated_at timestamptz not null default now());

create table public.roles (
    id serial primary key, name text not null, description text, created_at timestamptz not null default now(),
    tenant_id uuid not null references public.tenants on delete cascade,
    constraint uq_role_name_tenant unique (name, tenant_id));

create table public.profiles (
    id uuid primary key references auth.users on delete cascade,
    tenant_id uuid not null default '550e8400-e29b-41d4-a716-446655440000' references public.tenants on delete cascade,
    name text, email text, avatar_url text, bio text,
    role text default 'USER' check (role in ('USER', 'ADMIN', 'SUPER_ADMIN', 'GLOBAL_ADMIN')),
    role_id int references public.roles, active boolean default false,
    created_at timestamptz default now(), updated_at timestamptz default now());

create table public.permissions (
    id uuid primary key, name text not null, description text,
    created_at timestamptz not null default now(), updated_at timestamptz not null default now(),
    constraint permissions_name_key unique (name));
alter table public.permissions add constraint unique_permission_name unique (name);

create table public.role_permissions (
    id uuid primary key default gen_random_uuid(), role_id int not null references public.roles on delete cascade,
    permission_id uuid not null references public.permissions on delete cascade, created_at timestamptz not null default now(),
    unique (role_id, permission_id));

create table public.user_roles (
    id uuid primary key default gen_random_uuid(), user_id uuid not null references public.profiles on delete cascade,
    role_id int not null references public.roles on delete cascade, tenant_id uuid references public.tenants on delete cascade,
    created_at timestamptz not null default now(), updated_at timestamptz, unique (user_id, role_id));

create table public.user_tenants (
    user_id uuid not null references auth.users on delete cascade, tenant_id uuid not null, role_id int,
    created_at timestamptz not null default now(), updated_at timestamptz not null default now(), primary key (user_id, tenant_id));

create table public.feature_flags (
    id uuid primary key, name text not null unique, description text, default_enabled boolean default false,
    created_at timestamptz, updated_at timestamptz);

create table public.tenant_features (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references public.tenants on delete cascade,
    feature_id uuid not null references public.feature_flags on delete cascade, is_enabled boolean default false,
    created_at timestamptz default now(), updated_at timestamptz default now(), unique (tenant_id, feature_id));

create table public.sidebar_features (
    id uuid primary key default gen_random_uuid(), feature_id uuid, sidebar_name text not null, url_path text not null, icon text,
    display_order int, requires_permission text, requires_feature uuid, tenant_id uuid, group_name text, minimum_role_id int default 1,
    created_at timestamptz default now(), updated_at timestamptz default now());

-- Requests for features: no table of ours.
create table public.features (id uuid primary key, title text, priority text, status text, votes int);
insert into public.features values (gen_random_uuid(), 'Dark mode', 'high', 'open', 3);

insert into public.tenants (id, name, description) values
    ('550e8400-e29b-41d4-a716-446655440000', 'Last Apple', 'The first one'),
    ('2ebffd7a-c423-42f3-bf85-ed1397c9e218', 'Voice Automated', null),
    ('33333333-0000-4000-8000-000000000003', 'Nobody''s', null);
insert into public.tenants (id, name, is_active) values ('44444444-0000-4000-8000-000000000004', 'Closed', false);

insert into public.roles (id, name, description, tenant_id) values
    (1, 'USER', 'Basic user with limited permissions', '550e8400-e29b-41d4-a716-446655440000'),
    (2, 'ADMIN', null, '550e8400-e29b-41d4-a716-446655440000'),
    (3, 'SUPER_ADMIN', null, '550e8400-e29b-41d4-a716-446655440000'),
    (4, 'GLOBAL_ADMIN', null, '550e8400-e29b-41d4-a716-446655440000'),
    (5, 'Editor', 'Outranked GLOBAL_ADMIN', '550e8400-e29b-41d4-a716-446655440000'),
    (6, 'Researcher', null, '2ebffd7a-c423-42f3-bf85-ed1397c9e218');

insert into public.permissions (id, name, description)
select md5(n)::uuid, n, 'May ' || n from unnest(array['view_dashboard', 'manage_users', 'manage_roles', 'manage_permissions', 'configure_features',
    'manage_api_keys', 'manage_tenants', 'access_page_scraper', 'rbac:read', '*']) n
union all
select md5(a || f)::uuid, a || f, null from unnest(array['view_', 'start_']) a,
    unnest(array['contentmap', 'frontendscout', 'siteharvest', 'contactlaunchpad', 'emailhunter', 'actionqueue', 'socialradar', 'localminer']) f;

insert into public.role_permissions (role_id, permission_id)
select 1, id from public.permissions where name like 'view\_%'
union all
select 2, id from public.permissions where name like 'view\_%' or name like 'start\_%'
union all
select r, id from public.permissions, unnest(array[3, 4]) r where name not in ('manage_tenants', '*')
union all
select 4, id from public.permissions where name in ('manage_tenants', '*')
union all
select 5, id from public.permissions where name in ('view_contentmap', 'start_contentmap', 'access_page_scraper')
union all
select 6, id from public.permissions where name in ('view_localminer', 'manage_tenants');

insert into public.feature_flags (id, name, description, default_enabled) values
    ('2a2f67fd-3ebb-4645-8d48-bf2b5bc7d6c3', 'contentmap', 'Sitemap analyzer', false),
    ('862bcc06-30c5-46bd-a374-2b2e6c25c02f', 'frontendscout', null, false),
    ('62dd4c91-315f-43dc-ba91-68011f824fa9', 'siteharvest', null, false),
    ('f9fedb56-6e81-4c02-ab6e-38eb30432148', 'contactlaunchpad', null, false),
    ('00000000-0000-4000-8000-0000000000e1', 'emailhunter', null, false),
    ('00000000-0000-4000-8000-0000000000e2', 'actionqueue', null, false),
    ('00000000-0000-4000-8000-0000000000e3', 'socialradar', null, null),
    ('00000000-0000-4000-8000-0000000000e4', 'localminer', null, true),
    ('f65d99f6-79a9-49e7-9dc5-a4111eaaddd0', 'deep-analysis', null, false),
    ('00000000-0000-4000-8000-0000000000e5', 'discovery-scan', null, true),
    ('00000000-0000-4000-8000-0000000000e6', 'Control Center', null, true);

insert into public.tenant_features (tenant_id, feature_id, is_enabled)
select uuid '550e8400-e29b-41d4-a716-446655440000', id, true from public.feature_flags where name in ('contentmap', 'frontendscout', 'siteharvest', 'contactlaunchpad')
union all
select '2ebffd7a-c423-42f3-bf85-ed1397c9e218', id, true from public.feature_flags where name in ('emailhunter', 'actionqueue', 'socialradar')
union all
select '2ebffd7a-c423-42f3-bf85-ed1397c9e218', id, false from public.feature_flags where name = 'localminer'
union all
select '550e8400-e29b-41d4-a716-446655440000', id, null from public.feature_flags where name = 'deep-analysis';

insert into public.sidebar_features (feature_id, sidebar_name, url_path, icon, display_order, requires_permission, requires_feature, tenant_id, group_name, minimum_role_id) values
    ('2a2f67fd-3ebb-4645-8d48-bf2b5bc7d6c3', 'ContentMap', '/contentmap', 'map', 2, 'view_contentmap', null, null, 'Services', 1),
    ('f65d99f6-79a9-49e7-9dc5-a4111eaaddd0', 'Deep Analysis', '/contentmap/deep', 'microscope', 3, 'view_contentmap', null, null, null, 1),
    (null, 'Reports', '/reports', null, null, null, null, null, 'Other', 1),
    (null, 'Reports again', '/reports', null, 1001, null, null, null, 'Other', 1),
    ('99999999-0000-4000-8000-000000000009', 'Gone', '/gone', null, 4, null, null, null, 'Services', 1),
    ('2a2f67fd-3ebb-4645-8d48-bf2b5bc7d6c3', 'Two gates', '/two', null, 5, null, '862bcc06-30c5-46bd-a374-2b2e6c25c02f', null, 'Services', 1),
    (null, 'Smart Alerts', '/smart-alerts', null, 6, null, null, null, 'Services', 3),
    (null, 'For one', '/for-one', null, 7, null, null, '2ebffd7a-c423-42f3-bf85-ed1397c9e218', 'Services', 1),
    (null, 'Analyze', '/analyze', null, 8, 'domain:analyze', null, null, 'Services', 1),
    (null, 'No path', 'reports', null, 9, null, null, null, 'Services', 1);

insert into auth.users select ('a0000000-0000-4000-8000-0000000000' || lpad(n::text, 2, '0'))::uuid from generate_series(1, 14) n;

insert into public.profiles (id, tenant_id, name, email, avatar_url, bio, role, role_id, active) values
    ('a0000000-0000-4000-8000-000000000001', '550e8400-e29b-41d4-a716-446655440000', 'Ada', 'ada@last-apple.example', 'https://img.example/ada', 'Founder', 'SUPER_ADMIN', 3, true),
    ('a0000000-0000-4000-8000-000000000002', '550e8400-e29b-41d4-a716-446655440000', 'Ben', 'ben@last-apple.example', null, null, 'USER', 2, true), -- text and number disagree
    ('a0000000-0000-4000-8000-000000000003', '550e8400-e29b-41d4-a716-446655440000', 'Chloe', 'chloe@last-apple.example', null, null, 'USER', 4, true), -- user_roles says Editor
    ('a0000000-0000-4000-8000-000000000004', '550e8400-e29b-41d4-a716-446655440000', 'Dan', 'dan@last-apple.example', null, null, 'GLOBAL_ADMIN', null, true), -- only the text
    ('a0000000-0000-4000-8000-000000000005', '550e8400-e29b-41d4-a716-446655440000', 'Eva', null, null, null, 'SUPER_ADMIN', 3, false),
    ('a0000000-0000-4000-8000-000000000006', '550e8400-e29b-41d4-a716-446655440000', null, null, null, null, 'USER', 1, null),
    ('a0000000-0000-4000-8000-000000000007', '2ebffd7a-c423-42f3-bf85-ed1397c9e218', 'Vera', 'vera@voice.example', null, null, 'USER', null, true), -- GLOBAL_ADMIN by user_roles
    ('a0000000-0000-4000-8000-000000000008', '2ebffd7a-c423-42f3-bf85-ed1397c9e218', 'Will', 'will@voice.example', null, null, 'USER', 1, true), -- Researcher, tenant null
    ('a0000000-0000-4000-8000-000000000009', '2ebffd7a-c423-42f3-bf85-ed1397c9e218', 'Xan', 'xan@voice.example', null, null, 'USER', 5, true), -- another tenant's role
    ('a0000000-0000-4000-8000-000000000010', '2ebffd7a-c423-42f3-bf85-ed1397c9e218', 'Yan', 'yan@voice.example', null, null, 'ADMIN', 2, true),
    ('a0000000-0000-4000-8000-000000000011', '33333333-0000-4000-8000-000000000003', 'Zoe', 'zoe@nobody.example', null, null, 'SUPER_ADMIN', null, true), -- only the text
    ('a0000000-0000-4000-8000-000000000012', '44444444-0000-4000-8000-000000000004', 'Old', 'old@closed.example', null, null, 'USER', 1, true);

insert into public.user_roles (user_id, role_id, tenant_id) values
    ('a0000000-0000-4000-8000-000000000001', 3, '550e8400-e29b-41d4-a716-446655440000'),
    ('a0000000-0000-4000-8000-000000000003', 5, '550e8400-e29b-41d4-a716-446655440000'),
    ('a0000000-0000-4000-8000-000000000007', 4, '2ebffd7a-c423-42f3-bf85-ed1397c9e218'),
    ('a0000000-0000-4000-8000-000000000008', 6, null),
    ('a0000000-0000-4000-8000-000000000010', 3, '550e8400-e29b-41d4-a716-446655440000'); -- no member there

insert into public.user_tenants (user_id, tenant_id, role_id) values
    ('a0000000-0000-4000-8000-000000000001', '550e8400-e29b-41d4-a716-446655440000', 3),
    ('a0000000-0000-4000-8000-000000000002', '2ebffd7a-c423-42f3-bf85-ed1397c9e218', 1),
    ('a0000000-0000-4000-8000-000000000002', '99999999-0000-4000-8000-000000000009', 4),
    ('a0000000-0000-4000-8000-000000000013', '2ebffd7a-c423-42f3-bf85-ed1397c9e218', 4); -- no profile
