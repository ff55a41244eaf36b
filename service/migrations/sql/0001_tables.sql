-- The data model. Every name is written with its schema, so the search_path of
-- the session that runs this does not matter. Keys of tenant tables start with
-- tenant_id, and so do the foreign keys to them: a row cannot refer to a row of
-- another tenant.
--
-- The *_name_shown checks refuse control, format and direction characters, so
-- that people see all of a name. The service refuses more (tenancy.CheckName);
-- the checks hold for every other writer.

create schema if not exists poolproof;

create table poolproof.schema_migrations (
    version    int primary key check (version > 0),
    name       text not null,
    checksum   text not null,
    applied_at timestamptz not null default clock_timestamp()
);

-- next_role_id is the id of the tenant's next role. An id is never used twice.
create table poolproof.tenants (
    id           uuid primary key,
    name         text not null check (name ~ '\S' and char_length(name) <= 200),
    slug         text not null unique check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    next_role_id int not null default 1 check (next_role_id > 0),
    version      int not null default 1,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    constraint tenants_name_shown check (name !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]')
);

-- At most one row: the tenant whose administrators manage tenants and the
-- catalogues.
create table poolproof.platform (
    one boolean primary key default true check (one),
    id  uuid not null unique references poolproof.tenants (id)
);

create table poolproof.profiles (
    tenant_id   uuid not null references poolproof.tenants (id) on delete cascade,
    user_id     uuid not null,
    external_id text check (external_id ~ '\S' and char_length(external_id) <= 500),
    email       text not null default '' check (char_length(email) <= 320),
    name        text not null default '' check (char_length(name) <= 200),
    active      boolean not null default true,
    version     int not null default 1,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    primary key (tenant_id, user_id),
    unique (tenant_id, external_id),
    constraint profiles_name_shown check (name !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]'
        and email !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]')
);

create index profiles_user on poolproof.profiles (user_id, tenant_id);

-- holds_all: the role holds every permission of scope tenant, also those that
-- are added later.
create table poolproof.roles (
    tenant_id   uuid not null references poolproof.tenants (id) on delete cascade,
    id          int not null check (id > 0),
    name        text not null check (name ~ '\S' and char_length(name) <= 100),
    description text not null default '' check (char_length(description) <= 1000),
    system      boolean not null default false,
    holds_all   boolean not null default false,
    version     int not null default 1,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, name),
    constraint roles_name_shown check (name !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]')
);

-- A catalogue: one list for all tenants. (id, scope) is unique so that
-- role_permissions can refer to both. A seeded row came with a migration and can
-- be neither renamed nor deleted.
create table poolproof.permissions (
    id            uuid primary key,
    name          text not null unique check (name ~ '^[a-z][a-z0-9_:.-]{0,99}$'),
    scope         text not null default 'tenant' check (scope in ('tenant', 'platform')),
    resource_type text not null check (resource_type ~ '\S' and char_length(resource_type) <= 100),
    action        text not null check (action ~ '\S' and char_length(action) <= 100),
    description   text not null default '' check (char_length(description) <= 1000),
    seeded        boolean not null default false,
    version       int not null default 1,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    unique (id, scope)
);

-- Only a role of the platform tenant can have a permission of scope platform:
-- platform_id is then the row's own tenant and must be in poolproof.platform.
create table poolproof.role_permissions (
    tenant_id     uuid not null,
    role_id       int not null,
    permission_id uuid not null,
    scope         text not null default 'tenant',
    platform_id   uuid generated always as (case when scope = 'tenant' then null else tenant_id end) stored
                  references poolproof.platform (id),
    created_at    timestamptz not null default now(),
    primary key (tenant_id, role_id, permission_id),
    foreign key (tenant_id, role_id) references poolproof.roles (tenant_id, id) on delete cascade,
    foreign key (permission_id, scope) references poolproof.permissions (id, scope)
);

create index role_permissions_permission on poolproof.role_permissions (permission_id);

-- The role role_id inherits the permissions of the role parent_id.
create table poolproof.role_parents (
    tenant_id  uuid not null,
    role_id    int not null,
    parent_id  int not null check (parent_id <> role_id),
    created_at timestamptz not null default now(),
    primary key (tenant_id, role_id, parent_id),
    foreign key (tenant_id, role_id) references poolproof.roles (tenant_id, id) on delete cascade,
    foreign key (tenant_id, parent_id) references poolproof.roles (tenant_id, id) on delete cascade
);

create index role_parents_parent on poolproof.role_parents (tenant_id, parent_id);

create table poolproof.user_roles (
    tenant_id  uuid not null,
    user_id    uuid not null,
    role_id    int not null,
    granted_by uuid,
    expires_at timestamptz,
    version    int not null default 1,
    created_at timestamptz not null default now(),
    primary key (tenant_id, user_id, role_id),
    foreign key (tenant_id, user_id) references poolproof.profiles (tenant_id, user_id) on delete cascade,
    foreign key (tenant_id, role_id) references poolproof.roles (tenant_id, id) on delete cascade
);

create index user_roles_role on poolproof.user_roles (tenant_id, role_id);

-- A catalogue.
create table poolproof.features (
    id              uuid primary key,
    name            text not null unique check (name ~ '^[a-z][a-z0-9_.-]{0,99}$'),
    description     text not null default '' check (char_length(description) <= 1000),
    default_enabled boolean not null default false,
    seeded          boolean not null default false,
    version         int not null default 1,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now()
);

-- Without a row the feature's default_enabled counts.
create table poolproof.tenant_features (
    tenant_id  uuid not null references poolproof.tenants (id) on delete cascade,
    feature_id uuid not null references poolproof.features (id) on delete cascade,
    enabled    boolean not null,
    version    int not null default 1,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, feature_id)
);

-- A catalogue. feature_id and permission are gates: an item shows when each gate
-- that is not null holds.
create table poolproof.sidebar_items (
    id            uuid primary key,
    feature_id    uuid references poolproof.features (id),
    title         text not null check (title ~ '\S' and char_length(title) <= 100),
    url_path      text not null unique check (url_path ~ '^/\S*$' and char_length(url_path) <= 500),
    icon          text not null default '' check (char_length(icon) <= 100),
    group_name    text not null check (group_name ~ '\S' and char_length(group_name) <= 100),
    display_order int not null,
    permission    text references poolproof.permissions (name) on update cascade,
    version       int not null default 1
);

-- epoch counts the transactions that changed rows of the tenant; the zero id
-- stands for the catalogues. raised_in is the last transaction that raised it: a
-- transaction raises an epoch once, however many statements and triggers ask.
-- There is no foreign key: the row outlives its tenant, so that a cache learns
-- of the deletion, too.
create table poolproof.epochs (
    tenant_id uuid primary key,
    epoch     bigint not null default 1,
    raised_in xid8
);

-- Append-only: no policy and no grant allows update or delete. Ids are counted
-- per tenant (number_audit_row): one counter for all would show every tenant how
-- busy the others are.
create table poolproof.audit_log (
    tenant_id uuid not null references poolproof.tenants (id) on delete cascade,
    id        bigint,
    at        timestamptz not null default clock_timestamp(),
    actor     uuid not null,
    action    text not null check (action ~ '\S'),
    object    text not null check (object ~ '\S'),
    before    jsonb,
    after     jsonb,
    primary key (tenant_id, id)
);

create index audit_log_object on poolproof.audit_log (tenant_id, object, id);

create index audit_log_actor on poolproof.audit_log (tenant_id, actor, id);

-- How much a tenant can have; exactly one row. The schema's owner changes it:
--   update poolproof.bounds set roles = 5000;
-- What a tenant has above a lowered bound stays and can be read; it cannot grow.
create table poolproof.bounds (
    one         boolean primary key default true check (one),
    roles       int not null default 2000 check (roles between 4 and 100000),            -- of a tenant
    parents     int not null default 50 check (parents between 1 and 10000),             -- of a role
    depth       int not null default 10 check (depth between 1 and 100),                 -- steps of inheritance in a line
    assignments int not null default 100 check (assignments between 1 and 10000)         -- roles of a user in a tenant
);

insert into poolproof.bounds default values;
