//! What lies in the server's own tables: partitions, views, indexes, exact times.

use super::{Held, PostgresDatabase};
use crate::conformance::Subject;
use crate::conformance::building::{
    BEGIN_US, TestPoint, Writer, agent_host, as_rows, committed, point, stored,
};
use std::time::{Duration, Instant};
use tidegauge_model::Value;

const DAY_SECONDS: i64 = 86_400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_what_users_query_s2() {
    let Some(database) = PostgresDatabase::start("views").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let cpu = |seconds, cpu: &str| {
        let point = point("cpu", seconds).tag("cpu", cpu);
        point.field("user_percent", 12.5)
    };
    writer.commit(0..1, &[cpu(0, "total")]).await;
    // Something of the user's hangs on the view, and must stay.
    database.query("create view mine as select host, user_percent from cpu");
    let wide = cpu(1, "it's \"0\"\n")
        .tag("socket", "1")
        .field("busy", true);
    let text = point("cpu", 2).field("note", "a 'text'\nof two lines");
    writer.commit(1..2, &[wide, text]).await;
    let rows = database.query(
        "select host, cpu, socket, user_percent, busy, note,
         (extract(epoch from time) * 1000000)::bigint from cpu order by time",
    );
    let row = |values: [Option<&str>; 6], seconds: i64| -> Vec<Option<String>> {
        let time = (BEGIN_US + seconds * 1_000_000).to_string();
        let values = values.iter().map(|value| value.map(str::to_owned));
        values.chain([Some(time)]).collect()
    };
    let host = Some("web-1");
    let expected = [
        row([host, Some("total"), None, Some("12.5"), None, None], 0),
        row(
            [
                host,
                Some("it's \"0\"\n"),
                Some("1"),
                Some("12.5"),
                Some("t"),
                None,
            ],
            1,
        ),
        row(
            [host, None, None, None, None, Some("a 'text'\nof two lines")],
            2,
        ),
    ];
    assert_eq!(rows, expected);
    assert_eq!(database.value("select count(*) from mine"), "3");
    // A field takes the name of a tag, which becomes `tag_<name>`; `mine` does not use it, but it
    // hangs on the view: rows are stored all the same.
    let collides = cpu(3, "total").field("socket", 7.0);
    writer.commit(2..3, std::slice::from_ref(&collides)).await;
    database.query("drop view mine");
    database.store().housekeep().await.expect("housekeeping");
    let rows = database.query("select tag_socket, socket from cpu order by time");
    assert_eq!(rows[1], [Some("1".to_owned()), None]);
    assert_eq!(rows[3], [None, Some("7".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_is_being_read_holds_up_no_rows() {
    let Some(database) = PostgresDatabase::start("a view in use").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let first = point("load", 0).field("load1", 1.0);
    writer.commit(0..1, std::slice::from_ref(&first)).await;
    let lock = "select relname from pg_class; lock table load in access share mode";
    let held = Held::begin(&database.database.url, lock).await;
    let second = point("load", 1).tag("zone", "b").field("load1", 1.0);
    writer.commit(1..2, std::slice::from_ref(&second)).await;
    held.release().await;
    let rows = stored(&database.reader(), "load").await;
    assert_eq!(rows, as_rows(&[first, second]));
    database.store().housekeep().await.expect("housekeeping");
    assert_eq!(database.value("select max(zone) from load"), "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_exact_and_partitions_are_days() {
    let Some(database) = PostgresDatabase::start("times").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let times: [i64; 8] = [
        BEGIN_US + 1,
        BEGIN_US + 999_999,
        BEGIN_US + DAY_SECONDS * 1_000_000,
        BEGIN_US.div_euclid(86_400_000_000) * 86_400_000_000 - 1,
        0,
        -1,
        -62_135_596_800_000_000,
        253_402_300_799_999_999,
    ];
    let at = |time_us| {
        let mut point = point("load", 0).field("load1", 1.0);
        point.time_us = time_us;
        point
    };
    let points: Vec<TestPoint> = times.iter().map(|&time_us| at(time_us)).collect();
    writer.commit(0..1, &points).await;
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
    let count = "select count(*) from partition where state = 'open'
                 and to_time - from_time = interval '1 day'
                 and from_time = date_trunc('day', from_time, 'UTC')";
    assert_eq!(database.value(count), "7");
    let micros = format!(
        "select count(*) from load where time =
         timestamptz '1970-01-01 00:00:00+00' + {} * interval '1 microsecond'",
        BEGIN_US + 1
    );
    assert_eq!(database.value(&micros), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_names_fit() {
    let Some(database) = PostgresDatabase::start("long names").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let long = |letter: &str| letter.repeat(60);
    let host = agent_host(&"a".repeat(64), &"h".repeat(253));
    let points = [point(&long("m"), 0)
        .host(host)
        .tag(&long("t"), &"v".repeat(1_024))
        .tag(&long("f"), "collides")
        .field(&long("f"), 1.0)];
    writer.commit(0..1, &points).await;
    writer.ensure(&points).await;
    assert_eq!(
        stored(&database.reader(), &long("m")).await,
        as_rows(&points)
    );
    let sql = format!(
        "select host, {}, {} from {}",
        long("f"),
        long("t"),
        long("m")
    );
    let row = &database.query(&sql)[0];
    assert_eq!(row[0], Some("h".repeat(253)));
    assert_eq!(row[1], Some("1".to_owned()));
    assert_eq!(row[2], Some("v".repeat(1_024)));
    // Tags that are longer together than an index entry may be.
    let many = (0..32).fold(point("wide", 0).field("x", 1.0), |point, n| {
        point.tag(&format!("t{n}"), &random_like(n))
    });
    writer.commit(1..2, std::slice::from_ref(&many)).await;
    assert_eq!(stored(&database.reader(), "wide").await, as_rows(&[many]));
}

/// 1,024 characters that do not compress well.
fn random_like(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).expect("below 26"))
    };
    (0..1_024).map(letter).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_the_servers_own_columns_are_refused() {
    let Some(database) = PostgresDatabase::start("system columns").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let odd = point("load", 0)
        .field("xmin", 1.0)
        .field("ctid", 1.0)
        .field("load1", 1.0)
        .tag("xmax", "fine as a tag");
    writer.ensure(std::slice::from_ref(&odd)).await;
    let known = writer.measurement("load");
    assert_eq!(known.fields.len(), 1);
    assert_eq!(known.refused.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn housekeeping_summarises_and_makes_tomorrow() {
    let Some(database) = PostgresDatabase::start("housekeeping").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let now = database.value("select (extract(epoch from now()) * 1000000)::bigint");
    let now: i64 = now.parse().expect("a number");
    let points: Vec<TestPoint> = (0..5_000)
        .map(|n| {
            let mut point = point("load", 0).field("load1", f64::from(n));
            point.time_us = now - i64::from(n);
            point
        })
        .collect();
    writer.commit(0..1, &points).await;
    let partitions = "select count(*) from partition";
    let before: u32 = database.value(partitions).parse().expect("a number");
    writer.store.housekeep().await.expect("housekeeping");
    let after: u32 = database.value(partitions).parse().expect("a number");
    assert_eq!(after, before + 1, "tomorrow's");
    let left = database.query(
        "select brin_summarize_new_values(c.oid) from pg_class c join pg_am a on a.oid = c.relam
         where a.amname = 'brin' and c.relname like 'p\\_%'",
    );
    assert!(left.len() >= 4, "two for each partition");
    let done = Some("0".to_owned());
    assert!(
        left.iter().all(|row| row[0] == done),
        "nothing is left to do: {left:?}"
    );
    writer.store.housekeep().await.expect("not due, so nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_measurement_becomes_keyed_with_rows_in_it_d6() {
    let Some(database) = PostgresDatabase::start("becomes keyed").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let at = |seconds: i64, number: f64| point("sales", seconds).field("sum", number);
    let day = DAY_SECONDS;
    // Sources that number their batches repeat no points, but nothing forbids it yet.
    writer
        .commit(0..1, &[at(0, 1.0), at(0, 2.0), at(day, 3.0)])
        .await;
    let applied = writer
        .apply(1..2, &[at(0, 9.0).keyed(), at(2 * day, 4.0).keyed()])
        .await;
    assert_eq!(applied.expect("applied"), committed(1, 1));
    let mut late = writer;
    // A writer that does not know yet meets the unique key all the same.
    let applied = late.apply(2..3, &[at(day, 9.0), at(3 * day, 5.0)]).await;
    assert_eq!(applied.expect("applied"), committed(1, 1));
    let sums = database.query("select sum from sales order by time");
    let sums: Vec<&str> = sums.iter().filter_map(|row| row[0].as_deref()).collect();
    assert_eq!(sums, ["1", "3", "4", "5"]);
    let counted = database.query("select points, duplicate_points from position");
    assert_eq!(counted, [[Some("5".to_owned()), Some("2".to_owned())]]);
}

/// The bookkeeping is ready for settling: a settled partition takes rows through staging.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settled_partition_takes_late_rows_once_s3() {
    let Some(database) = PostgresDatabase::start("settled").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let at = |seconds: i64| point("load", seconds).field("load1", 1.0);
    writer.commit(0..1, &[at(0)]).await;
    let leaf = database.value("select name from partition");
    database.query(&format!(
        "create unique index on \"{leaf}\" (series_id, time);
         update partition set state = 'settled'"
    ));
    // The writer's cache still says that it is open.
    let applied = writer.apply(1..2, &[at(0), at(1), at(1), at(2)]).await;
    assert_eq!(applied.expect("applied"), committed(2, 2));
    assert_eq!(stored(&database.reader(), "load").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_retention_dropped_is_made_again() {
    let Some(database) = PostgresDatabase::start("retention").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    writer
        .commit(0..1, &[point("load", 0).field("load1", 1.0)])
        .await;
    let leaf = database.value("select name from partition");
    database.query(&format!(
        "begin; delete from partition; drop table \"{leaf}\"; commit"
    ));
    let late = [point("load", 1).field("load1", 2.0)];
    writer.commit(1..2, &late).await;
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&late));
}

/// D9: columns are added while steps go on, by two owners, and nobody fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_add_fields_while_a_third_stores() {
    let Some(database) = PostgresDatabase::start("schema change under load").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let names = ["m1", "m2", "m3"];
    let load: Vec<TestPoint> = names.map(|name| point(name, 0).field("f", 1.0)).to_vec();
    writer.ensure(&load).await;
    let grow = async |begin: i32| {
        let mut writer = Writer::open(&database).await;
        for n in 0..8 {
            let field = format!("f{begin}_{n}");
            let mut points = names.map(|name| point(name, 0).field(&field, 1.0)).to_vec();
            if begin == 1 {
                points.reverse();
            }
            writer.ensure(&points).await;
        }
    };
    let store = async {
        for offset in 0..40 {
            writer.commit(offset..offset + 1, &load).await;
        }
    };
    tokio::join!(grow(0), grow(1), store);
    let fields = database.value("select count(*) from field");
    assert_eq!(fields, (3 * 17).to_string());
    for name in names {
        assert_eq!(
            database.value(&format!("select count(f0_0) from {name}")),
            "0"
        );
        assert_eq!(
            database.value(&format!("select count(f) from {name}")),
            "40"
        );
    }
}

/// A new fleet: series are made in bulk, not one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_fleet_of_series_is_made_in_bulk() {
    let Some(database) = PostgresDatabase::start("a new fleet").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points: Vec<TestPoint> = (0..20_000)
        .map(|n| {
            let host = agent_host(&format!("agent-{}", n / 20), &format!("web-{}", n / 20));
            let point = point("cpu", 0).host(host).tag("cpu", &(n % 20).to_string());
            point.field("user_percent", Value::Float(1.0))
        })
        .collect();
    let begun = Instant::now();
    writer.commit(0..1, &points).await;
    writer.catalog.clear();
    writer.ensure(&points).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert_eq!(database.value("select count(*) from series"), "20000");
    assert_eq!(
        database.value("select count(distinct host) from cpu"),
        "1000"
    );
    // Nothing was numbered in vain: numbers are scarce (32 bits).
    assert_eq!(database.value("select max(id) from series"), "20000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_nobody_reads_from_is_in_the_condition() {
    let Some(database) = PostgresDatabase::start("slots").await else {
        return;
    };
    let _writer = Writer::open(&database).await;
    let slot = format!("tidegauge_test_{}", tidegauge_testkit::random_hex(8));
    let slots = async || {
        let condition = database.reader().condition().await.expect("an answer");
        let mine = condition.idle_slots.into_iter();
        mine.filter(|(name, _)| *name == slot).collect::<Vec<_>>()
    };
    assert_eq!(slots().await, []);
    database.query(&format!(
        "select pg_create_physical_replication_slot('{slot}', true)"
    ));
    let before = slots().await;
    assert_eq!(before.len(), 1);
    database.query("create table much as select repeat('x', 1000) from generate_series(1, 10000)");
    let after = slots().await;
    database.query(&format!("select pg_drop_replication_slot('{slot}')"));
    assert!(
        after[0].1 > before[0].1 + 10_000_000,
        "{before:?} {after:?}"
    );
    assert_eq!(slots().await, []);
}
