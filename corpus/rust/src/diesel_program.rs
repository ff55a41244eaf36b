//! diesel-async: one connection. It prepares even what it sends when it connects.

use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

diesel::table! {
    item (id) {
        id -> Integer,
        name -> Text,
    }
}

pub async fn run(url: &str, _form: &str) -> usize {
    let mut db = match AsyncPgConnection::establish(url).await {
        Ok(db) => db,
        Err(e) => {
            println!("wrong: it does not connect: {e}");
            return 1;
        }
    };
    let mut faults = 0;
    for n in 1..=6 {
        let answer = item::table.filter(item::id.eq(n)).select(item::name).first::<String>(&mut db).await;
        faults += crate::check(n, answer.map_err(|e| e.to_string()));
    }
    faults
}
