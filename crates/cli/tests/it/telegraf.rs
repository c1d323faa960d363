//! An existing fleet of Telegraf agents: what they send is stored as it is, once.

use crate::produce::{make_topic, now_us, send};
use crate::program::{command, number};
use tidegauge_testkit::{Database, kafka, postgres_database, random_topic};

/// Reads a topic to its end, its messages being of this encoding.
fn sink_to_the_end(brokers: &str, topic: &str, database: &Database, encoding: &str) {
    let output = command(&["sink", "--until-end", "--brokers", brokers])
        .args(["--topic", topic, "--group", topic, "--store", &database.url])
        .args(["--encoding", encoding])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn texts(database: &Database, sql: &str) -> Vec<String> {
    let rows = database.query(sql).unwrap();
    let text = |row: &Vec<Option<String>>| {
        let cells = row.iter().map(|cell| cell.as_deref().unwrap_or("null"));
        cells.collect::<Vec<_>>().join(" ")
    };
    rows.iter().map(text).collect()
}

#[test]
fn d6_lines_of_two_hosts_are_stored_once_and_a_bad_one_is_a_dead_letter() {
    const TEST: &str =
        "telegraf::d6_lines_of_two_hosts_are_stored_once_and_a_bad_one_is_a_dead_letter";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let topic = random_topic("telegraf");
    make_topic(&brokers, &topic, 1);
    let second = now_us() / 1_000_000 - 60;
    let collection = |host: &str, at: i64, user: f64| {
        let time = at * 1_000_000_000;
        [
            format!(
                "cpu,cpu=cpu0,host={host} usage_user={user},usage_system=1.0101010101010102,usage_idle=95.75757575757575,usage_iowait=0 {time}"
            ),
            format!(
                "cpu,cpu=cpu-total,host={host} usage_user={user},usage_system=0.8,usage_idle=96.3,usage_iowait=0 {time}"
            ),
            format!(
                "mem,host={host} available=14042120192i,available_percent=84.24133542,total=16668934144i,used=2368847872i {time}"
            ),
            format!(
                "disk,device=sda1,fstype=ext4,host={host},mode=rw,path=/ free=35183443968i,total=42004086784i,used_percent=12.304214 {time}"
            ),
            format!("system,host={host} uptime=1234567i,uptime_format=\"14 days,  6:56\" {time}"),
        ]
    };
    let web = collection("web-1", second, 3.5);
    let db = collection("db-1", second, 7.25);
    let mut bad = collection("web-1", second + 10, 4.5);
    bad[2] = bad[2].replace("available=14042120192i", "available=much");
    let messages = [
        // As Telegraf sends without batches: a line a message.
        web[0].clone(),
        format!("{}\n", web[1]),
        web[2..].join("\n"),
        // As it sends with them, with one host's lines again among those of the other.
        [&db[..], &web[1..3]].concat().join("\n"),
        bad.join("\r\n"),
        db.join("\n"),
        "{\"v\":1}".to_owned(),
    ];
    let messages: Vec<_> = messages
        .into_iter()
        .map(|text| ("telegraf".to_owned(), text.into_bytes()))
        .collect();
    send(&brokers, &topic, &messages);
    for round in 1..=2 {
        sink_to_the_end(&brokers, &topic, &database, "influx");
        // Three collections of two, one, one and one points; one of them is bad.
        for (measurement, rows) in [("cpu", 6), ("mem", 2), ("disk", 3), ("system", 3)] {
            let counted = number(&database, &format!("select count(*) from {measurement}"));
            assert_eq!(counted, Some(rows), "{measurement}, round {round}");
        }
        let letters = texts(
            &database,
            "select message_offset, point_index, reason from dead_letter order by id",
        );
        assert_eq!(
            letters,
            ["4 3 wrong_type", "6 null syntax"],
            "round {round}"
        );
    }
    let details = texts(&database, "select detail from dead_letter order by id");
    assert!(details[0].contains("line 3 (byte "), "{details:?}");
    let users = texts(
        &database,
        "select host, cpu, usage_user from cpu order by time, host, cpu",
    );
    let expected = [
        "db-1 cpu-total 7.25",
        "db-1 cpu0 7.25",
        "web-1 cpu-total 3.5",
        "web-1 cpu0 3.5",
        "web-1 cpu-total 4.5",
        "web-1 cpu0 4.5",
    ];
    assert_eq!(users, expected);
    let format = "select host, uptime_format from system order by time, host limit 1";
    assert_eq!(texts(&database, format), ["db-1 14 days,  6:56"]);
    // They have no agent: what was seen of them is counted by topic and partition.
    let positions = "select next_offset, messages, points, duplicate_points from position";
    assert_eq!(texts(&database, positions), ["7 7 14 7"]);
}

#[test]
fn telegraf_json_of_two_hosts_is_stored_once() {
    const TEST: &str = "telegraf::telegraf_json_of_two_hosts_is_stored_once";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let topic = random_topic("telegraf-json");
    make_topic(&brokers, &topic, 1);
    let second = now_us() / 1_000_000 - 60;
    let metric = |host: &str| {
        format!(
            r#"{{"fields":{{"load1":0.42,"n_cpus":8}},"name":"system","tags":{{"host":"{host}"}},"timestamp":{second}}}"#
        )
    };
    let messages = [
        format!("{}\n", metric("web-1")),
        format!(
            r#"{{"metrics":[{},{{}},{}]}}"#,
            metric("db-1"),
            metric("web-1")
        ),
    ];
    let messages: Vec<_> = messages
        .into_iter()
        .map(|text| ("telegraf".to_owned(), text.into_bytes()))
        .collect();
    send(&brokers, &topic, &messages);
    sink_to_the_end(&brokers, &topic, &database, "telegraf-json");
    let loads = texts(
        &database,
        "select host, load1, n_cpus from system order by host",
    );
    assert_eq!(loads, ["db-1 0.42 8", "web-1 0.42 8"]);
    let letters = "select message_offset, point_index, reason from dead_letter";
    assert_eq!(texts(&database, letters), ["1 1 missing_key"]);
}

#[test]
fn an_agent_does_not_send_what_is_only_read() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(&["agent", "--brokers", "127.0.0.1:1", "--encoding", "influx"])
        .args(["--state-dir", crate::program::text(folder.path())])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("agents do not send `influx`, sinks read it: expected one of json, compact"),
        "{said}"
    );
}
