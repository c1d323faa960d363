//! Scenario 5: the database crashes, sinks are killed, messages come twice; counts stay exact.

use crate::produce::{make_topic, numbered, send};
use crate::program::{PATIENCE, Program, start_sink_with};
use crate::stores::{Kind, Scratch, on_every_store};
use tidegauge_testkit::servers::{
    Distribution, MariadbOptions, MariadbServer, PostgresOptions, PostgresServer,
};
use tidegauge_testkit::{Database, MysqlDatabase, eventually, kafka, random_topic};

pub(crate) const COUNT: &str = "select count(*) from numbered";
pub(crate) const DISTINCT: &str = "select count(distinct n) from numbered";

on_every_store! {
    d3_killed_sinks_and_a_crashed_database_lose_and_double_nothing,
    two_sinks_share_two_partitions_with_the_same_totals,
}

pub(crate) fn start_sink(brokers: &str, topic: &str, url: &str) -> Program {
    // Small steps, so that there is always one under way.
    start_sink_with(brokers, topic, url, &[("TIDEGAUGE_SINK_STEP_POINTS", "20")])
}

pub(crate) fn wait_for(database: &Scratch, least: i64) {
    let what = format!("{least} samples are stored");
    eventually(PATIENCE * 2, &what, || {
        database.number(COUNT).filter(|count| *count >= least)
    });
}

/// A server of its own, that a test may crash. SQLite has none.
enum Server {
    Postgres(PostgresServer),
    Mariadb(MariadbServer),
    None,
}

impl Server {
    /// The server, and a database on it.
    fn start(kind: Kind, test: &str) -> Option<(Self, Scratch)> {
        if kind == Kind::Sqlite {
            return Some((Self::None, Scratch::start(kind, test)?));
        }
        let distribution = Distribution::of_environment(test)?;
        if kind == Kind::Postgres {
            let server = PostgresServer::start(&distribution, &PostgresOptions::default()).unwrap();
            let database = Database::create(server.url()).unwrap();
            return Some((Self::Postgres(server), Scratch::Postgres(database)));
        }
        let options = MariadbOptions {
            // A key for TLS is made anew at every start, and takes a busy machine a minute.
            settings: vec!["--skip-ssl".to_owned()],
            ..MariadbOptions::default()
        };
        let server = MariadbServer::start(&distribution, &options).unwrap();
        let Some(server) = server else {
            tidegauge_testkit::skip(test, "no MariaDB is published for this machine");
            return None;
        };
        let database = MysqlDatabase::create(&server.url()).unwrap();
        Some((Self::Mariadb(server), Scratch::Mysql(database)))
    }

    fn crash_and_start_again(&mut self) {
        match self {
            Self::Postgres(server) => server.restart_immediately().unwrap(),
            Self::Mariadb(server) => {
                server.kill().unwrap();
                server.start_again().unwrap();
            }
            Self::None => {}
        }
    }
}

fn d3_killed_sinks_and_a_crashed_database_lose_and_double_nothing(kind: Kind, test: &str) {
    let Some(brokers) = kafka(test) else { return };
    let Some((mut server, database)) = Server::start(kind, test) else {
        return;
    };
    let url = database.url();
    let topic = random_topic("crashes");
    make_topic(&brokers, &topic, 2);
    let all = numbered(0..1_000, 4);
    // Some are sent before the first sink starts; some are sent twice.
    send(&brokers, &topic, &all[..200]);
    let mut sink = start_sink(&brokers, &topic, &url);
    for kill in 1..=3_usize {
        wait_for(&database, 150 * kill as i64);
        send(&brokers, &topic, &all[200 * kill - 50..200 * (kill + 1)]);
        sink.kill();
        sink = start_sink(&brokers, &topic, &url);
    }
    wait_for(&database, 500);
    send(&brokers, &topic, &all[800..900]);
    server.crash_and_start_again();
    send(&brokers, &topic, &all[850..]);
    wait_for(&database, 1_000);
    let said = sink.terminate();
    assert_eq!(database.number(COUNT), Some(1_000), "{said}");
    assert_eq!(database.number(DISTINCT), Some(1_000), "{said}");
    for (column, expected) in [
        ("missing_batches", 0),
        ("batches", 1_000),
        ("duplicate_batches", 200),
    ] {
        let sum = database.number(&format!("select sum({column}) from ledger"));
        assert_eq!(sum, Some(expected), "{column}\n{said}");
    }
}

fn two_sinks_share_two_partitions_with_the_same_totals(kind: Kind, test: &str) {
    let Some(brokers) = kafka(test) else { return };
    let Some(database) = Scratch::start(kind, test) else {
        return;
    };
    let url = database.url();
    let topic = random_topic("two-sinks");
    make_topic(&brokers, &topic, 2);
    let all = numbered(0..1_000, 8);
    let first = start_sink(&brokers, &topic, &url);
    send(&brokers, &topic, &all[..400]);
    wait_for(&database, 100);
    let second = start_sink(&brokers, &topic, &url);
    send(&brokers, &topic, &all[400..700]);
    wait_for(&database, 700);
    // One is stopped in an orderly way; the other takes over.
    first.terminate();
    send(&brokers, &topic, &all[700..]);
    wait_for(&database, 1_000);
    second.terminate();
    assert_eq!(database.number(COUNT), Some(1_000));
    assert_eq!(database.number(DISTINCT), Some(1_000));
    let both = database.number("select count(*) from position where messages > 0");
    assert_eq!(both, Some(2), "both partitions were read");
}
