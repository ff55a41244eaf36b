//! Diesel on libpq: one connection, its cache of statements on or off.

use diesel::connection::CacheSize;
use diesel::prelude::*;

diesel::table! {
    item (id) {
        id -> Integer,
        name -> Text,
    }
}

pub fn run(url: &str, form: &str) -> usize {
    let mut db = PgConnection::establish(url).expect("connect");
    if form == "correct" {
        db.set_prepared_statement_cache_size(CacheSize::Disabled);
    }
    let mut faults = 0;
    for n in 1..=6 {
        let query = item::table.filter(item::id.eq(n)).select(item::name);
        let answer = if form == "correct" {
            db.transaction(|db| query.first::<String>(db))
        } else {
            query.first::<String>(&mut db)
        };
        faults += crate::check(n, answer.map_err(|e| e.to_string()));
    }
    faults
}
