//! What is written ahead, seen from the server.

use super::{DEADLINE, PostgresDatabase, store_at};
use crate::conformance::Subject;
use crate::conformance::ahead::{begin, chain};
use crate::conformance::building::{Writer, committed, stored};
use tidegauge_store::ErrorClass;
use tidegauge_testkit as testkit;

/// How the writer's connections are called.
const WRITER: &str = "ahead";

async fn writer(database: &PostgresDatabase) -> Writer {
    let mut writer = Writer::open(database).await;
    writer.store = store_at(&database.url_of(WRITER));
    writer
}

/// Waits until rows lie in an open transaction; answers its process.
async fn written_ahead(database: &PostgresDatabase) -> String {
    let sql = format!(
        "select pid from pg_stat_activity where application_name = '{WRITER}'
         and state = 'idle in transaction' and query like 'copy %' and datname = current_database()"
    );
    let process = async || database.query(&sql).pop()?.pop()?;
    testkit::eventually_async(DEADLINE, "rows are written ahead", process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_step_is_on_its_way_and_unseen() {
    let Some(database) = PostgresDatabase::start("written ahead").await else {
        return;
    };
    let mut writer = writer(&database).await;
    let steps = chain(&mut writer, 5).await;
    begin(&mut writer, &steps[..4]).await;
    written_ahead(&database).await;
    assert_eq!(stored(&database.reader(), "load").await.len(), 150);
    begin(&mut writer, &steps[3..]).await;
    let applied = writer.store.apply(&steps[4]).await.expect("applied");
    assert_eq!(applied, committed(100, 0));
    assert_eq!(stored(&database.reader(), "load").await.len(), 250);
    let connections = format!(
        "select count(*) from pg_stat_activity where application_name = '{WRITER}'
         and datname = current_database()"
    );
    assert_eq!(database.value(&connections), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_ended_is_written_anew() {
    let Some(database) = PostgresDatabase::start("written ahead and ended").await else {
        return;
    };
    let mut writer = writer(&database).await;
    let steps = chain(&mut writer, 4).await;
    begin(&mut writer, &steps).await;
    let process = written_ahead(&database).await;
    database.query(&format!("select pg_terminate_backend({process})"));
    let applied = writer.store.apply(&steps[3]).await.expect("applied");
    assert_eq!(applied, committed(100, 0));
    assert_eq!(stored(&database.reader(), "load").await.len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_refused_ahead_is_refused_as_data() {
    let Some(database) = PostgresDatabase::start("refused ahead").await else {
        return;
    };
    let mut writer = writer(&database).await;
    let steps = chain(&mut writer, 4).await;
    database.query(&database.poison_sql("load", "load1", 180.0));
    begin(&mut writer, &steps).await;
    let error = writer.store.apply(&steps[3]).await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Data);
    assert_eq!(stored(&database.reader(), "load").await.len(), 150);
}
