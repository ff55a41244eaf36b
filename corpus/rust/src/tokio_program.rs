//! tokio-postgres: one client, many queries.

use futures::future::join_all;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, NoTls, Row};

const SQL: &str = "select name from item where id = $1 and length($2) >= 0";

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
    for _ in 0..setting("CORPUS_ROUNDS", 3) {
        let work = async {
            match form {
                "join_all" => join_all((first..first + 8).map(|n| typed(&client, n, &padding))).await,
                _ => one_by_one(&client, form, first, &padding).await,
            }
        };
        match tokio::time::timeout(std::time::Duration::from_millis(setting("CORPUS_PATIENCE", 5000) as u64), work).await {
            Ok(answers) => {
                for (n, answer) in (first..).zip(answers) {
                    faults += crate::check(n, name(answer));
                }
                if client.is_closed() {
                    break;
                }
            }
            Err(_) => {
                println!("wrong: hangs");
                return faults + 1;
            }
        }
    }
    faults
}

async fn one_by_one(client: &Client, form: &str, first: i32, padding: &str) -> Vec<Result<Vec<Row>, Error>> {
    let mut answers = Vec::new();
    for n in first..first + 8 {
        answers.push(match form {
            "query" => client.query(SQL, &[&n, &padding]).await,
            _ => typed(client, n, padding).await,
        });
    }
    answers
}

/// query_typed prepares nothing: it sends all at once and waits once.
async fn typed(client: &Client, n: i32, padding: &str) -> Result<Vec<Row>, Error> {
    client.query_typed(SQL, &[(&n, Type::INT4), (&padding, Type::TEXT)]).await
}

fn name(answer: Result<Vec<Row>, Error>) -> Result<String, String> {
    match answer {
        Ok(rows) => rows.first().ok_or("no row".to_string())?.try_get(0).map_err(|e| e.to_string()),
        Err(e) => Err(e.as_db_error().map_or(e.to_string(), |d| d.to_string())),
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |s| s.parse().expect(name))
}
