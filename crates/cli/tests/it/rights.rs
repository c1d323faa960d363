//! Access rules of a real broker: what is not allowed is told as the right that is missing, on what, and
//! how it is given; nothing is lost meanwhile, and it goes on by itself when it was given.

use crate::produce::make_topic;
use crate::program::{PATIENCE, Program, http_get, number, text};
use crate::security::{Configuration, scram};
use tidegauge_testkit::servers::{Operation, Resource, USERS, allow, free_port};
use tidegauge_testkit::{eventually, kafka_listeners, postgres_database, random_topic};

#[test]
fn d13_a_missing_right_is_named_and_taken_up_when_it_is_given() {
    const TEST: &str = "rights::d13_a_missing_right_is_named_and_taken_up_when_it_is_given";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let (bob, password) = USERS[1];
    let kafka = scram(&listeners.sasl_ssl, &listeners.certificates, password);
    let configuration = Configuration::new(&kafka.replace(USERS[0].0, bob));
    let (topic, group) = (random_topic("rights"), random_topic("group"));
    let file = configuration.file();
    let state = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let grant = |operation, resource: Resource<'_>| {
        allow(&listeners.plaintext, bob, operation, resource).unwrap();
    };
    let lacks = |right: &str, kind: &str, name: &str| {
        let lower = right.to_ascii_lowercase();
        format!(
            "this user lacks the right {right} on the {kind} {name} (kafka-acls --add --allow-principal User:… --operation {lower} --{kind} {name})"
        )
    };
    let common = ["--config", &file, "--topic", &topic];
    let of_agent = [
        "--interval",
        "1s",
        "--listen",
        &listen,
        "--state-dir",
        text(state.path()),
    ];
    let mut agent = Program::start(&[&["agent"][..], &common, &of_agent].concat());
    let told = |program: &Program, expected: &str| {
        eventually(PATIENCE, expected, || {
            program.output().contains(expected).then_some(())
        });
    };
    let healthz = |expected: &str| {
        eventually(PATIENCE, expected, || {
            let page = http_get(&listen, "/healthz")?;
            (page.contains("503") && page.contains(expected)).then_some(())
        });
    };
    // The topic is not there, and may not even be asked for.
    let expected = format!(
        "not authorized to describe topic {topic}: {}",
        lacks("DESCRIBE", "topic", &topic)
    );
    told(&agent, &expected);
    healthz(&expected);
    grant(Operation::Describe, Resource::Topic(&topic));
    let expected = format!(
        "not authorized to create topic {topic}: {}",
        lacks("CREATE", "topic", &topic)
    );
    told(&agent, &expected);
    make_topic(&listeners.plaintext, &topic, 1);
    let expected = lacks("WRITE", "topic", &topic);
    healthz(&expected);
    told(&agent, &expected);
    grant(Operation::Write, Resource::Topic(&topic));

    let of_sink = ["--group", &group, "--store", &database.url];
    let sink = Program::start(&[&["sink"][..], &common, &of_sink].concat());
    told(
        &sink,
        &format!(
            "not authorized to consume {topic}: {}",
            lacks("READ", "group", &group)
        ),
    );
    grant(Operation::Read, Resource::Group(&group));
    told(
        &sink,
        &format!(
            "not authorized to consume {topic}: {}",
            lacks("READ", "topic", &topic)
        ),
    );
    grant(Operation::Read, Resource::Topic(&topic));
    eventually(PATIENCE, "rows arrive", || {
        number(&database, "select count(*) from load").filter(|rows| *rows >= 2)
    });
    assert!(agent.is_running());
    let said = agent.terminate() + &sink.terminate();
    assert!(!said.contains(password), "{said}");
    let gaps = "select sum(missing_batches + dropped_batches)::bigint from ledger";
    assert_eq!(
        number(&database, gaps),
        Some(0),
        "nothing was lost meanwhile"
    );
}
