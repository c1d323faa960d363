//! From a client of StatsD through the agent, Kafka and the sink into PostgreSQL: exact values.

use crate::program::{PATIENCE, Program, number, start_sink, text};
use tidegauge_testkit::servers::free_port;
use tidegauge_testkit::{Clients, eventually, kafka, postgres_database, random_topic};

#[test]
fn what_an_application_counts_is_in_the_database() {
    const TEST: &str = "listeners::what_an_application_counts_is_in_the_database";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let Some(clients) = Clients::of_environment(TEST) else {
        return;
    };
    let (topic, folder) = (random_topic("statsd"), tempfile::tempdir().unwrap());
    let address = format!("127.0.0.1:{}", free_port());
    let arguments = ["agent", "--brokers", &brokers, "--topic", &topic];
    let more = ["--state-dir", text(folder.path()), "--collectors", "load"];
    let environment = [
        ("TIDEGAUGE_STATSD_LISTEN", address.as_str()),
        ("TIDEGAUGE_STATSD_INTERVAL", "200ms"),
        ("TIDEGAUGE_AGENT_INTERVAL", "1s"),
    ];
    let agent = Program::start_with(&[&arguments[..], &more].concat(), &environment);
    agent.wait_for_output("listening");
    let sink = start_sink(&brokers, &topic, &database.url);
    for round in 1..=2 {
        clients.write("statsd", &address, None);
        let expected = Some(round * 100);
        eventually(PATIENCE, "the timers are stored", || {
            let found = number(&database, "select sum(count)::bigint from shop_answer");
            (found == expected).then_some(())
        });
    }
    let is = |sql: &str, expected: i64| {
        eventually(PATIENCE, sql, || {
            (number(&database, sql) == Some(expected)).then_some(())
        });
    };
    // What the listener took is told with the next collection, which an agent that ends has not.
    let last = "select * from listener order by time desc limit 1";
    let told = "accepted_points > 0 and refused_points = 0";
    is(
        &format!("select count(*) from ({last}) as last where {told}"),
        1,
    );
    agent.terminate();
    is("select max(total)::bigint from shop_orders", 34);
    is("select sum(sum)::bigint from shop_answer", 10_100);
    is(
        "select value::bigint from shop_queue order by time desc limit 1",
        4,
    );
    is("select count(*) from shop_orders where total = 0", 1);
    is("select count(*) from dead_letter", 0);
    let kinds = "select count(*) from measurement m join field f on f.measurement_id = m.id
                 where (m.name, m.kind, f.name, f.kind) in
                 (('shop_orders', 'counter', 'total', 'counter'),
                  ('shop_answer', 'timer', 'p99', 'timer'), ('shop_queue', 'gauge', 'value', 'gauge'))";
    is(kinds, 3);
    sink.terminate();
}
