//! sqlx: a pool of one connection.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::PgPool;

const SQL: &str = "select name from item where id = $1";

pub async fn run(url: &str, form: &str) -> usize {
    let mut options = PgConnectOptions::from_str(url).expect("a URL");
    if form != "default" {
        options = options.statement_cache_capacity(0);
    }
    let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false).connect_with(options).await.expect("connect");
    let mut faults = 0;
    for n in 1..=6 {
        let answer = match form {
            "correct" | "options" => in_transaction(&pool, n).await,
            form => sqlx::query_scalar(SQL).persistent(form == "default").bind(n).fetch_one(&pool).await,
        };
        faults += crate::check(n, answer.map_err(|e| e.to_string()));
    }
    faults
}

/// What sqlx sends for a query is two trips: they need one transaction.
async fn in_transaction(pool: &PgPool, n: i32) -> sqlx::Result<String> {
    let mut tx = pool.begin().await?;
    let name = sqlx::query_scalar(SQL).persistent(false).bind(n).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(name)
}
