//! Settling (S3): the same rows in another form, whatever happens meanwhile.

use super::{DEADLINE, Held, PostgresDatabase, store_at};
use crate::conformance::Subject;
use crate::conformance::building::{
    BEGIN_US, TestPoint, Writer, as_rows, committed, point, stored,
};
use std::time::{Duration, Instant};
use tidegauge_store::{RetentionRequest, SettleReport, SettleRequest, StoreError};
use tidegauge_testkit as testkit;

const HOUR_US: i64 = 3_600_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Settles all that is over two months later.
fn everything() -> SettleRequest {
    SettleRequest {
        now_us: BEGIN_US + 60 * 24 * HOUR_US,
        grace_us: HOUR_US,
        at_most: 1_000,
        postponed_too: true,
    }
}

/// Two series, out of order.
fn some_points() -> Vec<TestPoint> {
    let at = |seconds, zone| {
        let point = point("load", seconds).tag("zone", zone);
        point.field("load1", f64::from(seconds as i32))
    };
    vec![at(3, "a"), at(1, "b"), at(2, "a"), at(1, "a"), at(4, "b")]
}

impl PostgresDatabase {
    async fn settle(&self) -> Result<SettleReport, StoreError> {
        store_at(&self.url_of("settler"))
            .settle(&everything())
            .await
    }

    /// Settles once nobody else is at it; a server ends what a program began some time later.
    async fn settle_when_free(&self) -> SettleReport {
        let free = async || {
            let report = self.settle().await.expect("settled");
            (!report.is_busy).then_some(report)
        };
        testkit::eventually_async(DEADLINE, "the settling is free", free).await
    }

    fn kill_the_settler(&self) {
        self.query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where application_name = 'settler' and datname = current_database()",
        );
    }

    /// Waits until the sorted copy is committed.
    async fn has_a_copy(&self) {
        let sql = "select 1 from pg_class where relname like 'p\\_%\\_new\\_key'";
        let there = async || self.query(sql).first().map(|_| ());
        testkit::eventually_async(DEADLINE, "there is a sorted copy", there).await;
    }

    /// Nothing but the tables that the bookkeeping knows, each in its place.
    fn has_no_leftovers(&self) {
        let tables = "select count(*) from pg_class where relkind = 'r' and relname like 'p\\_%'";
        let attached = "select count(*) from pg_inherits i join pg_class c on c.oid = i.inhrelid
                        join partition p on p.name = c.relname where c.relkind = 'r'";
        let known = self.value("select count(*) from partition");
        assert_eq!(self.value(tables), known);
        assert_eq!(self.value(attached), known);
    }

    /// A transaction that saw the database before the copy was made.
    async fn old_reader(&self) -> Held {
        let sql = "set transaction isolation level repeatable read; select from partition";
        Held::begin(&self.database.url, sql).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settled_partition_is_sorted_and_unique_s3() {
    let Some(database) = PostgresDatabase::start("settling").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = some_points();
    writer.commit(0..1, &points).await;
    // The same (series, time) once more: the first one stays.
    let repeated = point("load", 1).tag("zone", "a").field("load1", 99.0);
    writer.commit(1..2, &[repeated]).await;
    let report = database.settle().await.expect("settled");
    let settled = &report.settled[0];
    let figures = (settled.rows, settled.duplicates_removed, report.remaining);
    assert_eq!(figures, (5, 1, 0));
    assert_eq!(settled.measurement, "load");
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
    let leaf = database.value("select name from partition");
    assert_eq!(leaf, settled.partition);
    assert_eq!(
        database.value("select state || duplicates_removed from partition"),
        "settled1"
    );
    let indexes = database.query(&format!(
        "select indexname, indexdef like '%UNIQUE%(series_id, \"time\")' from pg_indexes
         where tablename = '{leaf}'"
    ));
    assert_eq!(
        indexes,
        [[Some(format!("{leaf}_key")), Some("t".to_owned())]]
    );
    let sorted = format!(
        "select bool_and(a = b) from
         (select row_number() over (order by ctid) a, row_number() over (order by series_id, time) b
          from \"{leaf}\") x"
    );
    assert_eq!(database.value(&sorted), "t");
    let plain =
        "select count(*) from pg_class where relname like 'p\\_%' and reloptions is not null
                 and relkind = 'r'";
    assert_eq!(database.value(plain), "0");
    let constraints = "select count(*) from pg_constraint where conname = 'tidegauge_range'";
    assert_eq!(database.value(constraints), "0");
    database.has_no_leftovers();
    // Late rows go the staging way: the writer knew it as open.
    let late = point("load", 5).tag("zone", "a").field("load1", 5.0);
    let applied = writer.apply(2..3, &[points[0].clone(), late.clone()]).await;
    assert_eq!(applied.expect("applied"), committed(1, 1));
    let all: Vec<TestPoint> = points.iter().cloned().chain([late]).collect();
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&all));
    let again = database.settle().await.expect("nothing to do");
    assert_eq!(again, SettleReport::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_over_is_settled_oldest_first() {
    let Some(database) = PostgresDatabase::start("settling in time").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let days = [0, 1, 2].map(|day| point("load", day * DAY_SECONDS).field("load1", 1.0));
    writer.commit(0..1, &days).await;
    let end_of_second = BEGIN_US.div_euclid(24 * HOUR_US) * 24 * HOUR_US + 48 * HOUR_US;
    let mut request = SettleRequest {
        now_us: end_of_second + HOUR_US - 1,
        at_most: 1,
        ..everything()
    };
    for (now_us, settled, remaining) in [
        (end_of_second + HOUR_US - 1, 1, 0),
        (end_of_second + HOUR_US - 1, 0, 0),
        (end_of_second + 25 * HOUR_US, 1, 1),
        (end_of_second + 25 * HOUR_US, 1, 0),
    ] {
        request.now_us = now_us;
        let report = writer.store.settle(&request).await.expect("settled");
        assert_eq!(
            (report.settled.len(), report.remaining),
            (settled, remaining)
        );
    }
    let report = stored(&database.reader(), "load").await;
    assert_eq!(report, as_rows(&days));
}

/// Killed in each stage: the old or the new, never both, never neither; the next run completes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settling_that_is_killed_leaves_every_row_once() {
    for stage in ["mark", "copy", "freeze", "swap"] {
        let name = format!("settling killed in {stage}");
        let Some(database) = PostgresDatabase::start(&name).await else {
            return;
        };
        let mut writer = Writer::open(&database).await;
        let mut points = some_points();
        writer.commit(0..1, &points).await;
        let leaf = database.value("select name from partition");
        let held = match stage {
            "mark" => "select from partition for share".to_owned(),
            "copy" => format!("lock table \"{leaf}\" in access exclusive mode"),
            "freeze" => String::new(),
            _ => "lock table only m_load in access share mode".to_owned(),
        };
        let held = match held.is_empty() {
            true => database.old_reader().await,
            false => Held::begin(&database.database.url, &held).await,
        };
        let kill = async {
            match stage {
                "freeze" => database.has_a_copy().await,
                "swap" => {
                    database.has_a_copy().await;
                    database.waits_for_a_lock("settler").await;
                }
                _ => database.waits_for_a_lock("settler").await,
            }
            database.kill_the_settler();
        };
        let (settled, ()) = tokio::join!(database.settle(), kill);
        assert!(settled.is_err(), "{stage}: {settled:?}");
        held.release().await;
        assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
        // Rows that come before the next run are in it.
        let late = point("load", 9).field("load1", 9.0);
        writer.commit(1..2, std::slice::from_ref(&late)).await;
        points.push(late);
        let report = database.settle_when_free().await;
        assert_eq!(report.settled.len(), 1, "{stage}: {report:?}");
        assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
        assert_eq!(database.value("select state from partition"), "settled");
        database.has_no_leftovers();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_has_precedence_and_loses_nothing() {
    let Some(database) = PostgresDatabase::start("settling and a writer").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let mut points = some_points();
    writer.commit(0..1, &points).await;
    let held = database.old_reader().await;
    let late = point("load", 9).field("load1", 9.0);
    let new_column = point("load", 10).field("load5", 9.0);
    let write = async {
        database.has_a_copy().await;
        let began = Instant::now();
        writer.commit(1..2, std::slice::from_ref(&late)).await;
        writer.commit(2..3, std::slice::from_ref(&new_column)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began);
        held.release().await;
    };
    let (report, ()) = tokio::join!(database.settle(), write);
    let report = report.expect("put off");
    assert_eq!((report.settled.len(), report.postponed.len()), (0, 1));
    points.extend([late, new_column]);
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
    database.has_no_leftovers();
    // Not taken on by itself for a while.
    let request = SettleRequest {
        postponed_too: false,
        ..everything()
    };
    let report = writer.store.settle(&request).await.expect("nothing to do");
    assert_eq!(report, SettleReport::default());
    let report = database.settle_when_free().await;
    assert_eq!(report.settled.len(), 1);
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
}

/// A new column comes while rows are being sorted: it does not wait until they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_field_stops_the_sorting() {
    let Some(database) = PostgresDatabase::start("settling and a new field").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    writer.commit(0..1, &some_points()).await;
    // Sorting takes as long as this lock is held, or until it is stopped.
    let leaf = database.value("select name from partition");
    let lock = format!("lock table \"{leaf}\" in access exclusive mode");
    let held = Held::begin(&database.database.url, &lock).await;
    let stop = async {
        database.waits_for_a_lock("settler").await;
        let mut second = store_at(&database.url_of("second"));
        let mut catalog = tidegauge_store::Catalog::new(tidegauge_model::Limits::default());
        let point = point("load", 1).field("load15", 1.0);
        let needs = crate::conformance::building::requirements(&[point]);
        // The lock above is the test's own, so adding the column has to be tried again; what
        // matters is that the settling is gone.
        let added = second.ensure(&needs, &mut catalog).await;
        assert!(added.is_err_and(|error| error.is_retryable()));
        assert_eq!(database.value("select state from partition"), "open");
        held.release().await;
        second.ensure(&needs, &mut catalog).await.expect("added");
    };
    let (report, ()) = tokio::join!(database.settle(), stop);
    let report = report.expect("put off");
    assert_eq!((report.settled.len(), report.postponed.len()), (0, 1));
    assert_eq!(stored(&database.reader(), "load").await.len(), 5);
    assert_eq!(database.settle_when_free().await.settled.len(), 1);
    assert_eq!(stored(&database.reader(), "load").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settling_again_and_again_under_load_loses_nothing() {
    let Some(database) = PostgresDatabase::start("settling under load").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let point_at = |n: i64| {
        let seconds = (n % 4) * DAY_SECONDS + n;
        point("load", seconds).field("load1", n as f64)
    };
    writer.commit(0..1, &[point_at(0)]).await;
    let steps = 120;
    let (written, is_done) = tokio::sync::watch::channel(false);
    let write = async {
        for n in 1..steps {
            writer.commit(n..n + 1, &[point_at(n)]).await;
        }
        written.send(true).expect("somebody listens");
    };
    let settle = async {
        let mut settled = 0;
        while !*is_done.borrow() {
            settled += database.settle().await.expect("settled").settled.len();
        }
        settled
    };
    let ((), before) = tokio::join!(write, settle);
    let after = database.settle_when_free().await.settled.len();
    assert_eq!(before + after, 4, "each day once");
    let points: Vec<TestPoint> = (0..steps).map(point_at).collect();
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
    database.has_no_leftovers();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_sees_every_row_once_at_all_times() {
    let Some(database) = PostgresDatabase::start("settling and readers").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points: Vec<TestPoint> = (0..500)
        .map(|n| point("load", (n % 10) * DAY_SECONDS + n).field("load1", 1.0))
        .collect();
    writer.commit(0..1, &points).await;
    // One transaction reads before, during and after, from its first sight of the database.
    let old = database.old_reader().await;
    let (settled, is_done) = tokio::sync::watch::channel(false);
    let settle = async {
        let report = database.settle().await.expect("settled");
        settled.send(true).expect("somebody listens");
        report
    };
    let read = async {
        let connected = tokio_postgres::connect(&database.database.url, tokio_postgres::NoTls);
        let (client, connection) = connected.await.expect("connected");
        let connection = tokio::spawn(connection);
        let count = async |client: &tokio_postgres::Client| -> i64 {
            let rows = client.query_one("select count(*) from load", &[]).await;
            rows.expect("answered").get(0)
        };
        let mut old = Some(old);
        let mut reads = 0_u32;
        while !*is_done.borrow() {
            assert_eq!(count(&client).await, 500);
            reads += 1;
            if let Some(reader) = old.take_if(|_| reads > 20) {
                assert_eq!(count(&reader.client).await, 500, "for the old one too");
                reader.release().await;
            }
        }
        drop(client);
        connection.await.expect("ended").expect("ended well");
        reads
    };
    let (report, reads) = tokio::join!(settle, read);
    assert_eq!(report.settled.len(), 10, "{report:?}");
    assert!(reads > 20);
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_query_puts_the_swap_off_and_holds_up_nobody_for_long() {
    let Some(database) = PostgresDatabase::start("settling and a long query").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    writer.commit(0..1, &some_points()).await;
    let lock = "lock table only m_load in access share mode";
    let held = Held::begin(&database.database.url, lock).await;
    let go_on = async {
        database.has_a_copy().await;
        database.waits_for_a_lock("settler").await;
        let began = Instant::now();
        assert_eq!(database.value("select count(*) from load"), "5");
        assert!(began.elapsed() < Duration::from_secs(4), "{began:?}");
        held.release().await;
    };
    let (report, ()) = tokio::join!(database.settle(), go_on);
    assert_eq!(report.expect("settled").settled.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_program_settles_at_a_time() {
    let Some(database) = PostgresDatabase::start("two settle").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    writer.commit(0..1, &some_points()).await;
    let held = database.old_reader().await;
    let second = async {
        database.has_a_copy().await;
        let mut second = database.store();
        let report = second.settle(&everything()).await.expect("answered");
        assert!(report.is_busy && report.settled.is_empty());
        let request = RetentionRequest {
            now_us: everything().now_us,
            keep_us: Some(1),
            ..RetentionRequest::default()
        };
        let report = second.retain(&request).await.expect("answered");
        assert!(report.is_busy && report.removed.is_empty());
        held.release().await;
    };
    let (report, ()) = tokio::join!(database.settle(), second);
    assert_eq!(report.expect("settled").settled.len(), 1);
    assert_eq!(stored(&database.reader(), "load").await.len(), 5);
}
