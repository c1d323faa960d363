//! What lies in the server's own tables: views, keys, exact times, long names and wide rows.

use super::{Held, MysqlDatabase};
use crate::conformance::Subject;
use crate::conformance::building::{
    BEGIN_US, TestPoint, Writer, agent_host, as_rows, committed, moved, moved_in, point, source,
    stored,
};
use std::time::{Duration, Instant};
use tidegauge_model::{Reason, Value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_what_users_query_s2() {
    let Some(database) = MysqlDatabase::start("views").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let cpu = |seconds, cpu: &str| {
        let point = point("cpu", seconds).tag("cpu", cpu);
        point.field("user_percent", 12.5)
    };
    writer.commit(0..1, &[cpu(0, "total")]).await;
    database.query("create view mine as select host, user_percent from cpu");
    let odd = "it's \"0\"\n\\ ä ☃";
    let wide = cpu(1, odd).tag("socket", "1").field("busy", true);
    let text = point("cpu", 2).field("note", "a 'text'\nof two lines");
    writer.commit(1..2, &[wide, text]).await;
    let rows = database.query(
        "select host, cpu, socket, user_percent, busy, note,
         cast(`time` as char), timestampdiff(microsecond, '1970-01-01', `time`)
         from cpu order by `time`",
    );
    let host = Some("web-1");
    let expected = [
        [host, Some("total"), None, Some("12.5"), None, None],
        [host, Some(odd), Some("1"), Some("12.5"), Some("1"), None],
        [host, None, None, None, None, Some("a 'text'\nof two lines")],
    ];
    for (at, (row, expected)) in (0_i64..).zip(rows.iter().zip(expected)) {
        let values: Vec<Option<&str>> = row[..6].iter().map(Option::as_deref).collect();
        assert_eq!(values, expected);
        let time = format!("2026-11-20 14:00:0{at}.000000");
        assert_eq!(row[6].as_deref(), Some(time.as_str()));
        let micros = (BEGIN_US + at * 1_000_000).to_string();
        assert_eq!(row[7].as_deref(), Some(micros.as_str()));
    }
    assert_eq!(database.value("select count(*) from mine"), "3");
    // A field takes the name of a tag, which becomes `tag_<name>`.
    let collides = cpu(3, "total").field("socket", 7.0);
    writer.commit(2..3, std::slice::from_ref(&collides)).await;
    let rows = database.query("select tag_socket, socket from cpu order by `time`");
    assert_eq!(rows[1], [Some("1".to_owned()), None]);
    assert_eq!(rows[3], [None, Some("7".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_is_being_read_holds_up_no_rows() {
    let Some(database) = MysqlDatabase::start("a view in use").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let first = point("load", 0).field("load1", 1.0);
    writer.commit(0..1, std::slice::from_ref(&first)).await;
    // A transaction keeps what it has read from being made anew.
    let held = Held::begin(&database.database.url, "select count(*) from `load`").await;
    let second = point("load", 1).tag("zone", "b").field("load1", 1.0);
    writer.commit(1..2, std::slice::from_ref(&second)).await;
    held.release().await;
    let rows = stored(&database.reader(), "load").await;
    assert_eq!(rows, as_rows(&[first, second]));
    writer.store.housekeep().await.expect("housekeeping");
    assert_eq!(database.value("select max(zone) from `load`"), "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_exact_and_rows_are_clustered_s6() {
    let Some(database) = MysqlDatabase::start("times").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let times: [i64; 7] = [
        BEGIN_US + 1,
        BEGIN_US + 999_999,
        BEGIN_US - 1,
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
    let key = "select group_concat(column_name order by seq_in_index)
               from information_schema.statistics
               where table_schema = database() and table_name = 'm_load' and index_name = 'PRIMARY'";
    assert_eq!(database.value(key), "series_id,time");
    let plan = database.query(
        "explain select * from `m_load` where `series_id` = 1 and `time` >= '2026-01-01'
         and `time` < '2027-01-01'",
    );
    let words: Vec<&str> = plan[0].iter().flatten().map(String::as_str).collect();
    assert!(
        words.contains(&"range") && words.contains(&"PRIMARY"),
        "{plan:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_names_fit() {
    let Some(database) = MysqlDatabase::start("long names").await else {
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
    assert_eq!(row[2], Some("v".repeat(1_024)));
}

/// Blanks at the end and letters of another case are told apart, in identities and in tags.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_a_collation_may_take_for_equal_stay_apart() {
    let Some(database) = MysqlDatabase::start("collation").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let mut points = Vec::new();
    for text in ["web", "web ", "WEB", "wéb", "we\u{301}b", "web\0"] {
        let host = agent_host("", text);
        points.push(point("load", 0).host(host).field("load1", 1.0));
        points.push(point("load", 0).tag("zone", text).field("load1", 1.0));
    }
    writer.commit(0..1, &points).await;
    assert_eq!(database.value("select count(*) from series"), "12");
    assert_eq!(database.value("select count(*) from host"), "7");
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
}

/// A page of InnoDB holds only so much of a row: further fields are refused, not an outage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_fit_into_no_row_are_refused() {
    let Some(database) = MysqlDatabase::start("wide rows").await else {
        return;
    };
    let limits = tidegauge_model::Limits {
        fields_per_measurement: 5_000,
        ..tidegauge_model::Limits::default()
    };
    let mut writer = Writer::open_with(&database, limits).await;
    let text = "x".repeat(300);
    let texts = (0..400).fold(point("texts", 0), |point, n| {
        point.field(&format!("f{n}"), Value::from(text.clone()))
    });
    let numbers = (0..1_200).fold(point("numbers", 0), |point, n| {
        point.field(&format!("f{n}"), f64::from(n))
    });
    writer.ensure(&[texts.clone(), numbers.clone()]).await;
    let mut kept = Vec::new();
    for mut point in [texts, numbers] {
        let known = writer.measurement(&point.measurement);
        assert!(known.refused.len() >= 200, "{}", known.refused.len());
        let reasons = known.refused.values();
        assert!(
            reasons
                .copied()
                .all(|reason| reason == Reason::TooManyFields)
        );
        point.fields.retain(|name, _| known.column(name).is_some());
        assert!(point.fields.len() >= 180, "{}", point.fields.len());
        kept.push(point);
    }
    writer.commit(0..1, &kept).await;
    for point in kept {
        let rows = stored(&database.reader(), &point.measurement).await;
        assert_eq!(rows, as_rows(&[point]));
    }
}

/// Rows of several packets and slots, with repeats in some of them: each is counted where it
/// belongs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_are_counted_by_slot_over_several_packets_d6() {
    let Some(database) = MysqlDatabase::start("repeats").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let begun = writer.store.positions(&source(), &[(1, 0), (2, 0)]).await;
    begun.expect("begun");
    let at = |seconds: i64, slot: u32| point("sales", seconds).field("sum", 0.25).slot(slot);
    let first: Vec<TestPoint> = (0..20_000).map(|n| at(n * 3, 0)).collect();
    writer.commit(0..1, &first).await;
    // Every third of the first 60,000 is there; the last slot only repeats.
    let mut again: Vec<TestPoint> = (0..60_000).map(|n| at(n, u32::from(n % 2 == 1))).collect();
    again.extend((0..10).map(|n| at(n, 2)));
    let moves = vec![
        moved(1..2),
        moved_in(&source(), 1, 0..1),
        moved_in(&source(), 2, 0..1),
    ];
    let step = writer.step(moves, &again).await;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(40_000, 20_010));
    let counted =
        database.query("select points, duplicate_points from position order by `partition`");
    let pair =
        |points: u32, repeats: u32| vec![Some(points.to_string()), Some(repeats.to_string())];
    assert_eq!(
        counted,
        [pair(40_000, 10_000), pair(20_000, 10_000), pair(0, 10)]
    );
    assert_eq!(database.value("select count(*) from m_sales"), "60000");
}

/// D9: columns are added while steps go on, by two owners, and nobody fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_add_fields_while_a_third_stores() {
    let Some(database) = MysqlDatabase::start("schema change under load").await else {
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
            let points = names.map(|name| point(name, 0).field(&field, 1.0));
            writer.ensure(&points).await;
        }
    };
    let store = async {
        for offset in 0..40 {
            let points: Vec<TestPoint> = names
                .map(|name| point(name, offset).field("f", 1.0))
                .to_vec();
            writer.commit(offset..offset + 1, &points).await;
        }
    };
    tokio::join!(grow(0), grow(1), store);
    let fields = database.value("select count(*) from field");
    assert_eq!(fields, (3 * 17).to_string());
    for name in names {
        let sql = format!("select count(f), count(f0_0) from {name}");
        let counts = [Some("40".to_owned()), Some("0".to_owned())];
        assert_eq!(database.query(&sql), [counts]);
    }
}

/// A new fleet: series are made in bulk, not one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_fleet_of_series_is_made_in_bulk() {
    let Some(database) = MysqlDatabase::start("a new fleet").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points: Vec<TestPoint> = (0..20_000)
        .map(|n| {
            let host = agent_host(&format!("agent-{}", n / 20), &format!("web-{}", n / 20));
            let point = point("cpu", 0).host(host).tag("cpu", &(n % 20).to_string());
            point.field("user_percent", 1.0)
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
}
