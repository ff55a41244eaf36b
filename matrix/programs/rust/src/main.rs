//! tokio-postgres: each client has a connection of its own, and opens another when that one is closed.

use futures::future::join_all;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row};

enum Fault {
    Wrong(String),
    Error(String),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(e: tokio_postgres::Error) -> Self {
        Fault::Error(e.as_db_error().map_or(e.to_string(), |d| d.to_string()))
    }
}

fn say(outcome: &str, text: &str) {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    println!("{}", format!("{outcome} {}", text.chars().take(300).collect::<String>()).trim());
}

fn expect(what: &str, got: Option<String>, want: &str) -> Result<(), Fault> {
    match got {
        Some(got) if got == want => Ok(()),
        got => Err(Fault::Wrong(format!("{what} is {got:?}, not {want:?}"))),
    }
}

fn number(name: &str) -> i32 {
    std::env::var(name).expect(name).parse().expect(name)
}

/// What a client asks with: `query` prepares each statement first; `query_typed` sends all at once.
struct Asker {
    client: Client,
    recipe: bool,
}

impl Asker {
    async fn rows(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Fault> {
        if self.recipe {
            return Ok(self.client.query_typed(sql, values).await?);
        }
        let values: Vec<_> = values.iter().map(|v| v.0).collect();
        Ok(self.client.query(sql, &values).await?)
    }

    async fn one(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Option<String>, Fault> {
        match self.rows(sql, values).await?.first() {
            Some(row) => Ok(row.try_get(0)?),
            None => Ok(None),
        }
    }

    async fn statements(&self, client: i32, n: i32) -> Result<(), Fault> {
        let (tenant, id) = (format!("tenant {client}"), client + 16 * (n % 10));
        let (op, value) = (format!("{client}.{n}"), format!("value {client}.{n}"));
        for i in 0..2 {
            // Every other client asks in the other order, as an application's requests do.
            if (i + client) % 2 == 0 {
                let got = self.one("select name from items where id = $1", &[(&id, Type::INT4)]).await?;
                expect("the name of an item", got, &format!("item {id}"))?;
            } else {
                let got = self.one("select tenant from items where id = $1", &[(&id, Type::INT4)]).await?;
                expect("the tenant of an item", got, &tenant)?;
            }
        }
        let sql = "insert into written (tenant, op, value) values ($1, $2, $3)";
        self.rows(sql, &[(&tenant, Type::TEXT), (&op, Type::TEXT), (&value, Type::TEXT)]).await?;
        let sql = "select value from written where tenant = $1 and op = $2";
        expect("what was written", self.one(sql, &[(&tenant, Type::TEXT), (&op, Type::TEXT)]).await?, &value)
    }

    async fn settings(&self, client: i32, n: i32) -> Result<(), Fault> {
        let tenant = format!("tenant {client}");
        if !self.recipe {
            self.client.batch_execute(&format!("SET app.tenant TO '{tenant}'")).await?;
            return self.scoped(client, n).await;
        }
        self.client.batch_execute("begin").await?;
        let done = async {
            self.rows("select set_config('app.tenant', $1, true)", &[(&tenant, Type::TEXT)]).await?;
            self.scoped(client, n).await
        };
        match done.await {
            Ok(()) => Ok(self.client.batch_execute("commit").await?),
            Err(fault) => {
                self.client.batch_execute("rollback").await?;
                Err(fault)
            }
        }
    }

    async fn scoped(&self, client: i32, n: i32) -> Result<(), Fault> {
        let tenant = format!("tenant {client}");
        let (op, value) = (format!("{client}.{n}"), format!("value {client}.{n}"));
        let got = self.one("select concat_ws(' ', count(*), min(tenant), max(tenant)) from documents", &[]).await?;
        expect("what it sees of documents", got, &format!("10 {tenant} {tenant}"))?;
        self.rows("insert into notes (op, value) values ($1, $2)", &[(&op, Type::TEXT), (&value, Type::TEXT)]).await?;
        let got = self.one("select tenant || ': ' || value from notes where op = $1", &[(&op, Type::TEXT)]).await?;
        expect("what was written", got, &format!("{tenant}: {value}"))?;
        expect("the setting", self.one("select current_setting('app.tenant', true)", &[]).await?, &tenant)
    }
}

async fn open(url: &str, recipe: bool) -> Result<Asker, Fault> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection); // its end closes the client, whose next query says so
    Ok(Asker { client, recipe })
}

async fn run(url: &str, work: &str, recipe: bool, client: i32) {
    let mut asker: Option<Asker> = None;
    for n in 0..number("OPERATIONS") {
        let done = async {
            if asker.as_ref().is_none_or(|a| a.client.is_closed()) {
                asker = Some(open(url, recipe).await?);
            }
            let a = asker.as_ref().expect("it was opened");
            match work {
                "statements" => a.statements(client, n).await,
                _ => a.settings(client, n).await,
            }
        };
        match done.await {
            Ok(()) => say("right", ""),
            Err(Fault::Wrong(text)) => say("wrong", &text),
            Err(Fault::Error(text)) => say("error", &text),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted = include_str!("../Cargo.toml").lines().find_map(|l| l.strip_prefix("tokio-postgres = \"="));
    say("version", wanted.expect("a version").trim_end_matches('"'));
    let args: Vec<_> = std::env::args().collect();
    let (work, recipe) = (&args[1], args[2] == "recipe");
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL");
    let first = number("FIRST");
    join_all((first..first + number("CLIENTS")).map(|client| run(&url, work, recipe, client))).await;
}
