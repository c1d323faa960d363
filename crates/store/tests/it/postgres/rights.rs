//! A role that may select, insert and update, and nothing else, on tables that somebody else made.

use super::{PostgresDatabase, chain, store_url};
use crate::conformance::Subject;
use crate::conformance::building::{
    Writer, as_rows, committed, dead_letter, moved, point, source, stored,
};
use tidegauge_model::{Limits, Reason};
use tidegauge_store::{Catalog, ErrorClass, OpenOptions, StoreError, open_store, schema_sql};
use tidegauge_testkit as testkit;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_only_read_sees_the_views_of_checks_that_come_later() {
    let Some(database) = PostgresDatabase::start("reading-role").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let role = format!("tidegauge_test_{}", testkit::random_hex(8));
    database.query(&format!(
        "create role {role} login; grant usage on schema public to {role};
         grant select on all tables in schema public to {role}"
    ));
    let (_, rest) = database.database.url.split_once('@').expect("a user");
    let reading = format!("postgres://{role}@{rest}");
    let count = |view: &str| {
        let sql = format!("select count(*) from {view}");
        testkit::postgres_query(&reading, &sql).expect("the role may read it")
    };
    // The views are replaced, not dropped: the right to read them stays.
    let check = point("http_check", 0).tag("target", "shop");
    let check = check
        .field("up", true)
        .field("certificate_expires_seconds", 9.0);
    writer.commit(0..1, &[check]).await;
    assert_eq!(count("uptime"), [[Some("1".to_owned())]]);
    for view in ["outages", "certificates"] {
        assert_eq!(count(view).len(), 1);
    }
    let server = database
        .database
        .url
        .replace(&database.database.name, "postgres");
    drop((writer, database));
    testkit::postgres_query(&server, &format!("drop role {role}")).expect("dropped");
}

fn assert_waits(error: &StoreError, says: &str) {
    assert_eq!(error.class(), ErrorClass::Outage, "{}", chain(error));
    assert!(chain(error).contains(says), "{}", chain(error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn select_insert_and_update_are_enough_where_the_schema_is_not_ours() {
    let Some(database) = PostgresDatabase::start("rights").await else {
        return;
    };
    let role = format!("tidegauge_test_{}", testkit::random_hex(8));
    database.query(&schema_sql(&database.url()).expect("a script"));
    database.query("select tidegauge_make_partitions('2026-11-20', '2026-11-20')");
    database.query(&format!(
        "create role {role} login; grant usage on schema public to {role};
         grant select, insert, update on all tables in schema public to {role};
         alter default privileges in schema public grant select, insert, update on tables to {role}"
    ));
    let (_, rest) = database.database.url.split_once('@').expect("a user");
    let options = OpenOptions {
        manage_schema: false,
        ..OpenOptions::default()
    };
    let url = store_url(&format!("postgres://{role}@{rest}"));
    let mut store = open_store(&url, &options).expect("the URL is right");
    store.migrate().await.expect("nothing is missing");
    let begun = store.positions(&source(), &[(0, 0)]).await;
    begun.expect("positions");
    let mut writer = Writer {
        store,
        catalog: Catalog::new(Limits::default()),
    };
    let points = [
        point("load", 0).field("load1", 1.0).tag("new", "tag"),
        point("load", 86_400).field("load1", 2.0),
    ];
    let mut step = writer.step(vec![moved(0..1)], &points[..1]).await;
    step.dead_letters = vec![dead_letter(0, None, Reason::Syntax)];
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
    writer.store.housekeep().await.expect("housekeeping");
    assert_eq!(
        stored(&database.reader(), "load").await,
        as_rows(&points[..1])
    );

    // The next day has no partition: that is said, and waited for.
    let step = writer.step(vec![moved(1..2)], &points[1..]).await;
    let error = writer.store.apply(&step).await.expect_err("no partition");
    assert_waits(
        &error,
        "no partition of \"m_load\" holds '2026-11-21 14:00:00.000000+00'",
    );
    assert_waits(&error, "tidegauge_make_partitions");
    database.query("select tidegauge_make_partitions('2026-11-20', '2026-11-22')");
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));

    // Of a source without sequences, rows are known by a unique index.
    let keyed = [point("load", 5).field("load1", 3.0).keyed()];
    let needs = crate::conformance::building::requirements(&keyed);
    let ensured = writer.store.ensure(&needs, &mut writer.catalog).await;
    assert_waits(
        &ensured.expect_err("not keyed"),
        "tidegauge_make_keyed('load')",
    );
    database.query("select tidegauge_make_keyed('load')");
    for (offset, new) in [(2, 1), (3, 0)] {
        let applied = writer.apply(offset..offset + 1, &keyed).await;
        assert_eq!(applied.expect("applied"), committed(new, 1 - new));
    }

    // Which right on what.
    database.query(&format!(
        "revoke insert on series from {role}; revoke update, insert on \"m_cpu\" from {role}"
    ));
    let error = writer
        .store
        .migrate()
        .await
        .expect_err("rights are missing");
    assert_waits(
        &error,
        "the role lacks INSERT, UPDATE on m_cpu; INSERT on series",
    );
    database.query(&format!("revoke all on position from {role}"));
    let step = writer.step(vec![moved(4..5)], &[]).await;
    let error = writer.store.apply(&step).await.expect_err("no right");
    assert_waits(&error, "permission denied for table position");

    let server = database
        .database
        .url
        .replace(&database.database.name, "postgres");
    drop((writer, database));
    testkit::postgres_query(&server, &format!("drop role {role}")).expect("dropped");
}
