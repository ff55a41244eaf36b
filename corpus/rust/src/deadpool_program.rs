//! deadpool on tokio-postgres: a pool of one connection, and how it is cleaned.

use std::str::FromStr;

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio_postgres::types::Type;
use tokio_postgres::NoTls;

const SQL: &str = "select name from item where id = $1";

pub async fn run(url: &str, form: &str) -> usize {
    let recycling_method = if form == "clean" { RecyclingMethod::Clean } else { RecyclingMethod::Fast };
    let config = tokio_postgres::Config::from_str(url).expect("a URL");
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
    let pool = Pool::builder(manager).max_size(1).build().expect("a pool");
    let mut faults = 0;
    for n in 1..=6 {
        let client = pool.get().await.expect("connect");
        let answer = ask(&client, form, n).await;
        faults += crate::check(n, answer.map_err(|e| e.as_db_error().map_or(e.to_string(), |d| d.to_string())));
    }
    faults
}

async fn ask(client: &Client, form: &str, n: i32) -> Result<String, tokio_postgres::Error> {
    if form == "cached" {
        let statement = client.prepare_cached(SQL).await?;
        return client.query_one(&statement, &[&n]).await?.try_get(0);
    }
    let rows = client.query_typed(SQL, &[(&n, Type::INT4)]).await?;
    rows[0].try_get(0)
}
