//! Scenario 4: the broker goes away, at the start too, and the agent is killed meanwhile.

use crate::program::{PATIENCE, Program, metric, number, sink_to_the_end, text};
use tidegauge_testkit::servers::{Distribution, KafkaOptions, KafkaServer, free_port};
use tidegauge_testkit::{eventually, postgres_database, random_topic};

/// Batches that gather while the broker is away: one a second.
const AWAY: f64 = 15.0;

#[test]
fn d2_nothing_is_lost_or_doubled_while_the_broker_is_away() {
    const TEST: &str = "network_gone::d2_nothing_is_lost_or_doubled_while_the_broker_is_away";
    let Some(distribution) = Distribution::of_environment(TEST) else {
        return;
    };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let mut broker = KafkaServer::start(&distribution, &KafkaOptions::default()).unwrap();
    let brokers = broker.bootstrap().to_owned();
    let topic = random_topic("network-gone");
    let state = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let start = || {
        Program::start(&[
            "agent",
            "--brokers",
            &brokers,
            "--topic",
            &topic,
            "--interval",
            "1s",
            "--state-dir",
            text(state.path()),
            "--listen",
            &listen,
            "--partitions",
            "1",
            "--replication",
            "1",
        ])
    };
    let spooled = |least: f64| {
        let name = "tidegauge_agent_spool_batches";
        eventually(PATIENCE, "batches gather in the spool", || {
            metric(&listen, name).filter(|count| *count >= least)
        });
    };
    let emptied = || {
        let name = "tidegauge_agent_spool_batches";
        eventually(PATIENCE, "the spool is sent", || {
            metric(&listen, name).filter(|count| *count <= 1.0)
        });
    };

    // The broker is away before the start.
    broker.stop().unwrap();
    let mut agent = start();
    spooled(4.0);
    assert!(agent.is_running());
    agent.wait_for_output("samples");
    broker.start_again().unwrap();
    emptied();
    // It goes away for a while.
    broker.stop().unwrap();
    spooled(AWAY);
    assert!(agent.is_running());
    // The agent is killed meanwhile, and goes on in a new epoch with the same spool.
    agent.kill();
    let mut agent = start();
    spooled(AWAY + 4.0);
    assert!(agent.is_running());
    broker.start_again().unwrap();
    emptied();
    agent.terminate();

    sink_to_the_end(&brokers, &topic, &database.url);
    assert_eq!(
        number(
            &database,
            "select coalesce(sum(missing_batches + dropped_batches), 0)::bigint from ledger"
        ),
        Some(0)
    );
    assert_eq!(
        number(&database, "select count(distinct epoch) from ledger"),
        Some(2)
    );
    assert_eq!(
        number(
            &database,
            "select count(*) - count(distinct time) from load"
        ),
        Some(0)
    );
    // Every second of each run is there: the one gap is the restart, unless the agent says itself
    // that the machine was too busy to look.
    let gaps = "select count(*) from (select time - lag(time) over (order by time) as gap from load) s \
                where gap > interval '1700 milliseconds'";
    let missed = number(&database, "select max(missed_ticks)::bigint from agent").unwrap();
    assert!(
        number(&database, gaps).unwrap() <= 1 + missed,
        "{missed} ticks were missed"
    );
}

#[test]
fn d12_an_agent_whose_broker_was_never_there_ends_in_a_moment() {
    let state = tempfile::tempdir().unwrap();
    let closed = crate::web_server::closed_port();
    let arguments = ["agent", "--brokers", &closed, "--interval", "100ms"];
    let state = ["--state-dir", crate::program::text(state.path())];
    let agent = Program::start(&[&arguments[..], &state].concat());
    agent.wait_for_output("agent is starting");
    let begin = std::time::Instant::now();
    let output = agent.terminate();
    let took = begin.elapsed();
    assert!(
        took < std::time::Duration::from_secs(4),
        "{took:?}\n{output}"
    );
    assert!(output.contains("stopped batches="), "{output}");
}
