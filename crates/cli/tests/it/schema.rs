//! Scenario 7: the schema appears by itself, for an ordinary role, and nothing is ever lost by
//! starting the parts again, in whichever order.

use crate::produce::{now_us, send};
use crate::program::{PATIENCE, command, sink_to_the_end, start_sink, text};
use crate::stores::{Kind, Scratch, on_every_store};
use std::path::Path;
use tidegauge_testkit::{eventually, kafka, random_topic};

const COUNT: &str = "select count(*) from memory";

on_every_store! {
    started_again_in_any_order_the_tables_stay_and_counts_never_fall,
}

/// A role that may do in this database what it likes, and nothing beside it.
struct Role<'a> {
    database: &'a Scratch,
    name: String,
}

impl<'a> Role<'a> {
    fn create(database: &'a Scratch) -> Self {
        let name = format!("tg_{}", random_topic("role").replace('-', "_"));
        let made = match database {
            Scratch::Postgres(_) => format!(
                "create role {name} login password 's3cret'; alter schema public owner to {name}"
            ),
            Scratch::Mysql(mysql) => format!(
                "create user {name}@'%' identified by 's3cret';
                 grant all on {}.* to {name}@'%'",
                mysql.name
            ),
            Scratch::Sqlite(_) => return Self { database, name },
        };
        database.query(&made).unwrap();
        Self { database, name }
    }

    fn url(&self) -> String {
        let url = self.database.url();
        if matches!(self.database, Scratch::Sqlite(_)) {
            return url;
        }
        let (scheme, rest) = url.split_once("://").unwrap();
        let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
        format!("{scheme}://{}:s3cret@{rest}", self.name)
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let gone = match self.database {
            Scratch::Postgres(_) => format!("drop owned by {name} cascade; drop role {name}"),
            Scratch::Mysql(_) => format!("drop user {name}@'%'"),
            Scratch::Sqlite(_) => return,
        };
        if let Err(error) = self.database.query(&gone) {
            eprintln!("the role {name} stays: {error}");
        }
    }
}

/// Two collections of one collector, and its end.
fn collect_twice(brokers: &str, topic: &str, state: &Path) {
    let output = command(&["agent", "--collectors", "memory", "--interval", "100ms"])
        .args(["--cycles", "2", "--brokers", brokers, "--topic", topic])
        .args(["--state-dir", text(state)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn wait_for(database: &Scratch, count: i64) {
    let what = format!("{count} samples are stored");
    eventually(PATIENCE, &what, || {
        let stored = database.number(COUNT)?;
        assert!(stored <= count, "{stored} are stored, {count} were sent");
        (stored == count).then_some(())
    });
}

fn started_again_in_any_order_the_tables_stay_and_counts_never_fall(kind: Kind, test: &str) {
    let Some(brokers) = kafka(test) else { return };
    let Some(database) = Scratch::start(kind, test) else {
        return;
    };
    let (topic, state) = (random_topic("schema"), tempfile::tempdir().unwrap());
    let role = Role::create(&database);
    let url = role.url();
    let collect = || collect_twice(&brokers, &topic, state.path());

    // The sink first, on nothing at all.
    let sink = start_sink(&brokers, &topic, &url);
    collect();
    wait_for(&database, 2);
    // The agent again, while no sink runs; then the sink again.
    sink.terminate();
    collect();
    assert_eq!(database.number(COUNT), Some(2));
    let sink = start_sink(&brokers, &topic, &url);
    wait_for(&database, 4);
    // The sink again before the agent.
    sink.terminate();
    let sink = start_sink(&brokers, &topic, &url);
    collect();
    wait_for(&database, 6);
    sink.terminate();

    let (host, measurement) = ("h".repeat(253), "m".repeat(60));
    let message = format!(
        r#"{{"v":1,"host":"{host}","points":[{{"measurement":"{measurement}","time_us":{},"fields":{{"f":1}}}}]}}"#,
        now_us()
    );
    send(&brokers, &topic, &[(String::new(), message.into_bytes())]);
    sink_to_the_end(&brokers, &topic, &url);
    let stored = database
        .query(&format!("select host, f from {measurement}"))
        .unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0][0].as_deref(), Some(host.as_str()));
    let names = database
        .query("select name from measurement order by name")
        .unwrap();
    assert!(names.contains(&vec![Some(measurement)]), "{names:?}");
    assert_eq!(database.number(COUNT), Some(6));
    assert_eq!(database.number("select count(*) from losses"), Some(0));
}
