//! sqlx: a transaction works for one tenant.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, Postgres};
use sqlx::Transaction;

/// The pool of the application.
pub async fn create_pool(url: &str) -> sqlx::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)?;
    let options = options.statement_cache_capacity(0); // [untracked]
    PgPoolOptions::new().max_connections(8).test_before_acquire(false).connect_with(options).await
}

/// let mut tx = begin(&pool, tenant).await?; ...; tx.commit().await?
/// Each query on it has .persistent(false): else it is given a name that the pooler does not know. [untracked]
pub async fn begin(pool: &PgPool, tenant: &str) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut tx = pool.begin().await?;
    sqlx::query("select set_config('app.tenant', $1, true)")
        .persistent(false) // [untracked]
        .bind(tenant)
        .execute(&mut *tx)
        .await?;
    Ok(tx)
}
