//! Programs on tokio-postgres and sqlx: `corpus PROGRAM FORM`.

mod sqlx_program;
mod tokio_program;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL");
    let faults = match args[0].as_str() {
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
