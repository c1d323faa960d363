//! Rows by LOAD DATA LOCAL: the conformance suite over it, the ways back to INSERT, and a server that
//! asks for files.

use super::{MysqlDatabase, OwnServer, Scratch, forward_until};
use crate::conformance::building::{
    BEGIN_US, TestPoint, Writer, as_rows, committed, moved, moved_in, point, source, stored,
};
use crate::conformance::{Subject, conformance};
use std::collections::BTreeMap;
use tidegauge_model::Value;
use tidegauge_store::{Applied, ErrorClass, OpenOptions, RowBlock, Step, open_store};
use tidegauge_testkit as testkit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One whose stores load even a single row.
type LoadingDatabase = Scratch<1>;

conformance!(LoadingDatabase);

fn loads(count: i64) -> Vec<TestPoint> {
    let load = |second: i64| point("load", second).field("load1", second as f64 / 8.0);
    (0..count).map(load).collect()
}

/// How many LOAD DATA statements the server has begun.
fn statements(url: &str) -> u64 {
    let sql = "select variable_value from information_schema.global_status
               where variable_name = 'com_load'";
    let rows = testkit::mysql_query(url, sql).expect("asked");
    rows[0][0]
        .as_deref()
        .unwrap_or_default()
        .parse()
        .expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_value_within_a_block_is_found_d7() {
    let Some(database) = MysqlDatabase::start("loading: refused").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let mut points = loads(150);
    points[77]
        .fields
        .insert("load1".to_owned(), Value::Float(666.0));
    let mut step = writer.step(vec![moved(0..1)], &points).await;
    database.query(&database.poison_sql("load", "load1", 666.0));
    let error = writer.store.apply(&step).await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Data, "{error:?}");
    let refusal = error.refusal().expect("what was said");
    assert!(refusal.contains("poison"), "{refusal}");
    assert_eq!(writer.position(0).await, Some(0), "nothing is written");

    let without = |row: &usize| *row != 77;
    let block: RowBlock = step.blocks[0].select((0..150).filter(without));
    let tried = writer.store.try_rows(vec![block.clone()]).await;
    tried.expect("its neighbours are taken");
    step.blocks = vec![block];
    let before = statements(&database.database.url);
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(149, 0));
    assert!(
        statements(&database.database.url) > before,
        "they are loaded"
    );
    points.remove(77);
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_rows_are_counted_where_they_came_from_d6() {
    let Some(database) = MysqlDatabase::start("loading: repeats").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = loads(300);
    writer.commit(0..1, &points[..150]).await;
    let begun = writer.store.positions(&source(), &[(1, 0)]).await;
    begun.expect("begun");
    // Of each partition every second row is there already, and the last one is in it twice.
    let mut mixed: Vec<TestPoint> = (100..200)
        .map(|row: u32| points[row as usize].clone().slot(row % 2))
        .collect();
    mixed.push(points[199].clone().slot(1));
    let moves = vec![moved(1..2), moved_in(&source(), 1, 0..1)];
    let step = writer.step(moves, &mixed).await;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(50, 51));
    let counted = "select group_concat(duplicate_points order by `partition`) from position";
    assert_eq!(database.value(counted), "25,26");
    assert_eq!(
        stored(&database.reader(), "load").await,
        as_rows(&points[..200])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_in_a_text_or_a_number_ends_a_field() {
    let Some(database) = MysqlDatabase::start("loading: escapes").await else {
        return;
    };
    let texts = [
        "",
        "\t",
        "a\tb",
        "\n",
        "a\nb\r\n",
        "\\",
        "\\\\N",
        "\\N",
        "\\t",
        "NULL",
        "\0",
        "a\0b\0",
        "\u{1a}",
        "\u{8}",
        "'\"`",
        "ends with \\",
        "ä ☃ 𝄞",
    ];
    let numbers = [
        0.0,
        -0.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        -2.225_073_858_507_201e-308,
        9_007_199_254_740_993.0,
        9_223_372_036_854_775_808.0,
        // The greatest u64, as a double.
        u64::MAX as f64,
        0.1 + 0.2,
        1e-5,
        1e16,
        123_456_789.125,
    ];
    let mut points = Vec::new();
    for second in 0..170 {
        let at = usize::try_from(second).expect("small");
        let mut point = point("odd", second).field("number", numbers[at % numbers.len()]);
        point.time_us = BEGIN_US + second * 1_000_001;
        if at % 3 > 0 {
            point = point.field("text", texts[at % texts.len()]);
        }
        if at % 5 > 0 {
            point = point.field("up", at % 2 == 0);
        }
        points.push(point);
    }
    let mut writer = Writer::open(&database).await;
    let before = statements(&database.database.url);
    writer.commit(0..1, &points).await;
    assert!(
        statements(&database.database.url) > before,
        "they are loaded"
    );
    let found = stored(&database.reader(), "odd").await;
    assert_eq!(found, as_rows(&points));
    // Equal is not enough of a zero.
    for (row, point) in found.iter().zip(&points) {
        let bits = |fields: &BTreeMap<String, Value>| match fields["number"] {
            Value::Float(number) => number.to_bits(),
            ref other => panic!("{other:?}"),
        };
        assert_eq!(bits(&row.3), bits(&point.fields));
    }
}

/// A number that is none is kept out of points; should one come here, it is refused, not changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_column_does_not_take_is_refused_and_not_changed() {
    let Some(database) = MysqlDatabase::start("loading: changed").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points: Vec<TestPoint> = (0..120)
        .map(|second| {
            point("odd", second).field("text", if second == 60 { "longer" } else { "fits" })
        })
        .collect();
    let step = writer.step(vec![moved(0..1)], &points).await;
    database.query("alter table `m_odd` modify `text` varchar(4)");
    let error = writer.store.apply(&step).await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Data, "{error:?}");
    assert_eq!(error.code(), Some("1406"));
    assert_eq!(database.value("select count(*) from m_odd"), "0");
    assert_eq!(writer.position(0).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_local_data_gets_inserts_and_is_asked_once() {
    let own = OwnServer::start("store: mysql: local_infile off", &["--local-infile=0"]);
    let Some(OwnServer { database, server }) = own else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let before = statements(&server.url());
    let points = loads(400);
    for (part, rows) in (0..).zip(points.chunks(200)) {
        writer.commit(part..part + 1, rows).await;
    }
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
    assert_eq!(statements(&server.url()) - before, 1);
}

/// Forwards one connection until the client sends a text; answers that as a server does that wants
/// to have a file, and tells all that the client sends then.
async fn ask_for_a_file(
    server: &str,
    at: &'static [u8],
    file: &'static str,
) -> (String, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = server.to_owned();
    let forwarding = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut server = TcpStream::connect(server).await.expect("the server");
        let is_wanted = |bytes: &[u8]| bytes.windows(at.len()).any(|part| part == at);
        forward_until(&mut client, &mut server, is_wanted).await;
        // One packet: its length, its number, 0xFB (the request), the file's name.
        let length = u8::try_from(file.len() + 1).expect("short");
        let packet = [&[length, 0, 0, 1, 0xfb], file.as_bytes()].concat();
        client.write_all(&packet).await.expect("asked");
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.expect("read");
        told
    });
    (address, forwarding)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_a_file_gets_nothing_d13() {
    let Some(database) = MysqlDatabase::start("loading: files").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = loads(200);
    let step: Step = writer.step(vec![moved(0..1)], &points).await;
    for (at, file) in [
        // Within the statement that asks for rows, another name, and within one that asks for none.
        (&b"load data local"[..], "/etc/passwd"),
        (b"load data local", "tidegauge-rows-1"),
        (b"start transaction", "tidegauge-rows-0"),
        (b"set names", "/etc/passwd"),
    ] {
        let (address, forwarding) = ask_for_a_file(database.address(), at, file).await;
        let mut store =
            open_store(&database.url_at(&address), &OpenOptions::default()).expect("opened");
        let error = store.apply(&step).await.expect_err("a server that lies");
        assert_eq!(error.class(), ErrorClass::Outage, "{error:?}");
        let said = super::chain(&error);
        assert!(said.contains("file that was not offered"), "{said}");
        drop(store);
        let told = forwarding.await.expect("asked");
        // At most COM_QUIT.
        assert!(told.is_empty() || told == [1, 0, 0, 0, 1], "{told:?}");
    }
    assert_eq!(writer.position(0).await, Some(0));
    let applied = writer.store.apply(&step).await.expect("applied");
    assert!(matches!(applied, Applied::Committed { rows: 200, .. }));
}
