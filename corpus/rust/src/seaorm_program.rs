//! SeaORM: a pool of one connection, each query alone or in a transaction.

use sea_orm::entity::prelude::*;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, TransactionTrait};

mod item {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "item")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        pub name: String,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub async fn run(url: &str, form: &str) -> usize {
    let url = if form == "correct" { format!("{url}&statement-cache-capacity=0") } else { url.to_string() };
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).test_before_acquire(false).sqlx_logging(false);
    let db = Database::connect(options).await.expect("connect");
    let mut faults = 0;
    for n in 1..=6 {
        let answer = if form == "correct" {
            let tx = db.begin().await.expect("begin");
            let answer = name(&tx, n).await;
            tx.commit().await.expect("commit");
            answer
        } else {
            name(&db, n).await
        };
        faults += crate::check(n, answer.map_err(|e| e.to_string()));
    }
    faults
}

async fn name(on: &impl ConnectionTrait, n: i32) -> Result<String, DbErr> {
    let item = item::Entity::find_by_id(n).one(on).await?;
    Ok(item.map_or("nothing".to_string(), |i| i.name))
}
