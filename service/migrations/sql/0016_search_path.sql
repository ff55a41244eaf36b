-- The questions of 0003, 0008 and 0010 run with the caller's rights, and ran in
-- the caller's search_path: where a schema stands ahead of pg_catalog there, its
-- operators answered. From here on every function of the schema has a search_path
-- of its own (make_scope writes each operator's schema instead, because it must be
-- quick). CREATE OR REPLACE without SET takes it away again: a test looks.
alter function poolproof.is_member(uuid, uuid) set search_path = pg_catalog, pg_temp;
alter function poolproof.held(uuid, uuid) set search_path = pg_catalog, pg_temp;
alter function poolproof.conferred(uuid, int[]) set search_path = pg_catalog, pg_temp;
alter function poolproof.ancestors(uuid, int[]) set search_path = pg_catalog, pg_temp;
alter function poolproof.heirs(uuid, int) set search_path = pg_catalog, pg_temp;
alter function poolproof.refused(uuid, uuid, text) set search_path = pg_catalog, pg_temp;
alter function poolproof.read_features(uuid, uuid, text) set search_path = pg_catalog, pg_temp;
alter function poolproof.read_sidebar(uuid, uuid, text) set search_path = pg_catalog, pg_temp;
alter function poolproof.read_roles(uuid, uuid, text, int, int) set search_path = pg_catalog, pg_temp;
