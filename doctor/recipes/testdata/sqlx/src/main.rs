//! Asks for several tenants at once: recipe FORM OPERATIONS. See recipes_test.go.

mod recipe;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};

async fn work(on: &mut PgConnection, persistent: bool, tenant: &str, n: usize) -> sqlx::Result<bool> {
    let id = 1 + (n % 50) as i32;
    let name: Option<String> = sqlx::query_scalar("select name from item where id = $1").persistent(persistent).bind(id).fetch_optional(&mut *on).await?;
    if n % 4 == 0 {
        sqlx::query("insert into note (told) values ($1::text::uuid)").persistent(persistent).bind(tenant).execute(&mut *on).await?;
    }
    Ok(name == Some(format!("item {id} of {tenant}")))
}

async fn one(pool: &PgPool, form: &str, persistent: bool, n: usize) -> sqlx::Result<bool> {
    let tenant = format!("00000000-0000-4000-8000-00000000000{}", 1 + n % 4);
    if form == "session" {
        // What the recipe replaces. Each step is a transaction, so that only the tenant is at fault.
        let mut tx = pool.begin().await?;
        sqlx::query("select set_config('app.tenant', $1, false)").persistent(persistent).bind(&tenant).execute(&mut *tx).await?;
        tx.commit().await?;
        let mut tx = pool.begin().await?;
        let right = work(&mut tx, persistent, &tenant, n).await?;
        tx.commit().await?;
        return Ok(right);
    }
    let mut tx = recipe::begin(pool, &tenant).await?;
    let right = work(&mut tx, persistent, &tenant, n).await?;
    tx.commit().await?;
    Ok(right)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (form, operations) = (args[0].clone(), args[1].parse::<usize>().expect("a number"));
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL");
    let pool = if form == "defaults" {
        PgPoolOptions::new().max_connections(8).connect(&url).await.expect("connect")
    } else {
        recipe::create_pool(&url).await.expect("connect")
    };
    let persistent = form == "defaults" || std::env::var("TRACKED").is_ok();
    let (next, wrong, failed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let first = Rc::new(RefCell::new(String::new()));
    let local = tokio::task::LocalSet::new();
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (pool, form, next, wrong, failed, first) = (pool.clone(), form.clone(), next.clone(), wrong.clone(), failed.clone(), first.clone());
            local.spawn_local(async move {
                while next.get() < operations {
                    let n = next.replace(next.get() + 1);
                    match one(&pool, &form, persistent, n).await {
                        Ok(true) => {}
                        Ok(false) => wrong.set(wrong.get() + 1),
                        Err(e) => {
                            failed.set(failed.get() + 1);
                            if first.borrow().is_empty() {
                                *first.borrow_mut() = e.to_string().replace(['"', '\\', '\n'], " ");
                            }
                        }
                    }
                }
            })
        })
        .collect();
    local
        .run_until(async {
            for worker in workers {
                worker.await.expect("a worker");
            }
        })
        .await;
    if form == "recipe" {
        let mut tx = pool.begin().await.expect("begin"); // without a tenant
        let seen: i64 = sqlx::query_scalar("select count(*) from item").persistent(persistent).fetch_one(&mut *tx).await.expect("count");
        wrong.set(wrong.get() + seen as usize);
    }
    println!("{{\"operations\":{operations},\"wrong\":{},\"failed\":{},\"first\":\"{}\"}}", wrong.get(), failed.get(), first.borrow());
}
