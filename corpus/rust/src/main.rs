//! Programs on tokio-postgres, sqlx and what works through them: `corpus PROGRAM FORM`.

mod deadpool_program;
mod diesel_program;
mod diesel_sync_program;
mod seaorm_program;
mod sqlx_program;
mod tokio_program;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut url = std::env::var("DATABASE_URL").expect("DATABASE_URL");
    if args[1] == "direct" {
        url = std::env::var("DIRECT_URL").expect("DIRECT_URL");
    }
    if args[1] == "options" {
        url += "&options=-c%20statement_timeout%3D5000";
    }
    let faults = match args[0].as_str() {
        "deadpool" => deadpool_program::run(&url, &args[1]).await,
        "diesel" => diesel_program::run(&url, &args[1]).await,
        "diesel_sync" => diesel_sync_program::run(&url, &args[1]),
        "seaorm" => seaorm_program::run(&url, &args[1]).await,
        "tokio" => tokio_program::run(&url, &args[1]).await,
        "sqlx" => sqlx_program::run(&url, &args[1]).await,
        other => panic!("no program {other}"),
    };
    std::process::exit(if faults > 0 { 1 } else { 0 });
}

/// Tells a wrong answer and counts it.
fn check(n: i32, answer: Result<String, String>) -> usize {
    let name = answer.unwrap_or_else(|e| e);
    if name == format!("item {n}") {
        return 0;
    }
    println!("wrong: item {n} is {name}");
    1
}
