//! tokio-postgres: one client, many queries.

use std::time::Duration;

use futures::future::join_all;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

const SQL: &str = "select name from item where id = $1 and length($2) >= 0 and pg_sleep($3) is not null";

pub async fn run(url: &str, form: &str) -> usize {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect");
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            println!("wrong: the connection ended: {e}");
        }
    });
    let padding = "x".repeat(setting("CORPUS_BYTES", 0));
    let first = setting("CORPUS_FIRST", 1) as i32;
    let mut faults = 0;
    for _ in 0..3 {
        let queries = (first..first + 8).map(|n| ask(&client, form, n, &padding));
        let answers = if form == "join_all" {
            join_all(queries).await
        } else {
            let mut answers = Vec::new();
            for query in queries {
                answers.push(query.await);
            }
            answers
        };
        for (n, answer) in (first..).zip(answers) {
            faults += crate::check(n, answer);
        }
        if faults > 0 && form == "join_all" {
            break;
        }
    }
    faults
}

/// Asks for an item's name. `query` prepares the statement first; `query_typed`
/// prepares nothing: it sends all at once and waits once.
async fn ask(client: &Client, form: &str, n: i32, padding: &str) -> Result<String, String> {
    let work = setting("CORPUS_MS", 0) as f64 / 1000.0; // how long the server is to work on it
    let patience = Duration::from_millis(setting("CORPUS_PATIENCE", 5000) as u64);
    let answer = tokio::time::timeout(patience, async {
        match form {
            "query" => client.query(SQL, &[&n, &padding, &work]).await,
            _ => client.query_typed(SQL, &[(&n, Type::INT4), (&padding, Type::TEXT), (&work, Type::FLOAT8)]).await,
        }
    });
    match answer.await {
        Ok(Ok(rows)) => rows.first().ok_or("no row".to_string())?.try_get(0).map_err(|e| e.to_string()),
        Ok(Err(e)) => Err(e.as_db_error().map_or(e.to_string(), |d| d.to_string())),
        Err(_) => Err("nothing: it hangs".to_string()),
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |s| s.parse().expect(name))
}
