-- name: Add :one
insert into documents (title, meta) values ($1, $2) returning id;

-- name: AddFor :exec
insert into documents (tenant_id, title) values ($1, $2);

-- name: All :many
select title, meta from documents order by id;
