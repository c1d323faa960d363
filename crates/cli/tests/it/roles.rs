//! Least rights: the statements of `docs/storage.md` are run as they stand there, and sink, page and queries
//! work as the roles that they make, and may do nothing else.

use crate::produce::{make_topic, now_us, send};
use crate::program::{PATIENCE, Program, command, http_get};
use crate::stores::{Kind, Scratch};
use tidegauge_testkit::{eventually, kafka, mysql_query, postgres_query, random_hex, random_topic};

const DOCUMENT: &str = include_str!("../../../../docs/storage.md");

/// Who the statements make, with the passwords that they give.
const ROLES: [&str; 3] = ["tidegauge_migrate", "tidegauge_sink", "tidegauge_dashboard"];

macro_rules! on_both_servers {
    ($($scenario:ident),* $(,)?) => {
        mod postgres { $(
            #[test]
            fn $scenario() {
                let test = concat!(module_path!(), "::", stringify!($scenario));
                super::$scenario(super::Kind::Postgres, test);
            }
        )* }
        mod mysql { $(
            #[test]
            fn $scenario() {
                let test = concat!(module_path!(), "::", stringify!($scenario));
                super::$scenario(super::Kind::Mysql, test);
            }
        )* }
    };
}

on_both_servers! {
    a_sink_that_makes_its_tables_and_a_page_that_reads,
    a_sink_on_tables_of_somebody_else,
}

/// A database with the roles of the document, which are the server's and so have names of their own here.
struct Roles {
    database: Scratch,
    suffix: String,
    made: Vec<(String, String)>,
}

impl Roles {
    fn start(kind: Kind, test: &str) -> Option<Self> {
        let database = Scratch::start(kind, test)?;
        let suffix = random_hex(8);
        Some(Self {
            database,
            suffix,
            made: Vec::new(),
        })
    }

    /// Runs the statements that the document marks with a name.
    fn run(&mut self, name: &str) {
        let marker = format!("<!-- tested: {name} -->\n```sql\n");
        let (_, rest) = DOCUMENT.split_once(&marker).expect(name);
        let (mut sql, _) = rest
            .split_once("```")
            .map(|(sql, _)| (sql.to_owned(), ()))
            .unwrap();
        if let Scratch::Mysql(mysql) = &self.database {
            sql = sql.replace(" on tidegauge.", &format!(" on {}.", mysql.name));
        }
        for role in ROLES {
            let own = format!("{role}_{}", self.suffix);
            sql = sql.replace(role, &own);
            let quoted = sql
                .lines()
                .find(|line| line.starts_with("create") && line.contains(&own));
            if let Some(line) = quoted {
                let password = line.rsplit('\'').nth(1).expect("a password");
                self.made.push((role.to_owned(), password.to_owned()));
            }
        }
        self.database.query(&sql).unwrap();
    }

    fn url(&self, role: &str) -> String {
        let url = self.database.url();
        let (scheme, rest) = url.split_once("://").unwrap();
        let (_, rest) = rest.split_once('@').unwrap();
        let (_, password) = self.made.iter().find(|(made, _)| made == role).expect(role);
        let password = password.replace(' ', "%20");
        format!("{scheme}://{role}_{}:{password}@{rest}", self.suffix)
    }

    /// Runs SQL as one of the roles.
    fn query_as(&self, role: &str, sql: &str) -> Result<(), String> {
        let answer = match &self.database {
            Scratch::Postgres(_) => postgres_query(&self.url(role), sql),
            _ => mysql_query(&self.url(role), sql),
        };
        answer.map(drop).map_err(|error| format!("{error:#}"))
    }

    fn assert_refused(&self, role: &str, statements: &[&str]) {
        for sql in statements {
            let said = self.query_as(role, sql).expect_err(sql);
            let refused = [
                "permission denied",
                "must be owner",
                "command denied",
                "Access denied",
            ];
            assert!(
                refused.iter().any(|word| said.contains(word)),
                "{sql}: {said}"
            );
        }
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        for (role, _) in &self.made {
            let name = format!("{role}_{}", self.suffix);
            let gone = match self.database {
                Scratch::Postgres(_) => format!("drop owned by {name} cascade; drop role {name}"),
                _ => format!("drop user {name}@'%'"),
            };
            if let Err(error) = self.database.query(&gone) {
                eprintln!("the role {name} stays: {error}");
            }
        }
    }
}

fn points(points: &[String]) -> (String, Vec<u8>) {
    let message = format!(r#"{{"v":1,"host":"h","points":[{}]}}"#, points.join(","));
    ("h".to_owned(), message.into_bytes())
}

fn point(number: i64, fields: &str) -> String {
    let time = now_us() - number * 1_000;
    format!(r#"{{"measurement":"memory","time_us":{time},"fields":{{{fields}}}}}"#)
}

/// A command on the store as one of the roles; its end, and what it said.
fn run(arguments: &[&str], url: &str, environment: &[(&str, &str)]) -> (bool, String) {
    let output = command(arguments)
        .args(["--store", url])
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn succeeds(arguments: &[&str], url: &str, environment: &[(&str, &str)]) -> String {
    let (succeeded, said) = run(arguments, url, environment);
    assert!(succeeded, "{arguments:?}: {said}");
    said
}

/// All that reads, and the page.
fn reads(roles: &Roles, rows: i64) {
    let url = roles.url("tidegauge_dashboard");
    let said = succeeds(&["query", "range", "memory", "--host", "h"], &url, &[]);
    assert!(said.contains("used_bytes"), "{said}");
    for arguments in [
        &["store", "ledger"][..],
        &["store", "freshness"],
        &["dead-letters", "list"],
    ] {
        succeeds(arguments, &url, &[]);
    }
    let page = Program::start(&["dashboard", "--store", &url, "--listen", "127.0.0.1:0"]);
    let address = page.page_address();
    let hosts = eventually(PATIENCE, "the page answers", || {
        http_get(&address, "/api/hosts")
    });
    assert!(
        hosts.starts_with("HTTP/1.1 200") && hosts.contains(r#""identity":""#),
        "{hosts}"
    );
    page.terminate();
    assert_eq!(
        roles.database.number("select count(*) from memory"),
        Some(rows)
    );
}

/// What a page may not.
const WRITES: &[&str] = &[
    "insert into tag (measurement_id, name) values (1, 'x')",
    "update host set name = 'x'",
    "delete from dead_letter",
    "drop view memory",
    "drop table m_memory",
    "create table x (n int)",
];

fn a_sink_that_makes_its_tables_and_a_page_that_reads(kind: Kind, test: &str) {
    let Some(brokers) = kafka(test) else { return };
    let Some(mut roles) = Roles::start(kind, test) else {
        return;
    };
    let topic = random_topic("roles");
    make_topic(&brokers, &topic, 1);
    roles.run(if kind == Kind::Postgres {
        "postgres"
    } else {
        "mysql"
    });
    let url = roles.url("tidegauge_sink");
    let sink = |environment: &[(&str, &str)]| {
        let arguments = [
            "sink",
            "--until-end",
            "--brokers",
            &brokers,
            "--topic",
            &topic,
        ];
        succeeds(
            &[&arguments[..], &["--group", &topic]].concat(),
            &url,
            environment,
        );
    };
    // New tables and columns, rows in bulk, a row that comes again, dead letters.
    let many: Vec<String> = (0..300).map(|n| point(n, r#""used_bytes":1.5"#)).collect();
    let wrong = point(400, r#""used_bytes":"high""#);
    let old = point(3 * 86_400_000, r#""used_bytes":0.5"#);
    send(
        &brokers,
        &topic,
        &[points(&many), points(&many[..5]), points(&[wrong, old])],
    );
    sink(&[("TIDEGAUGE_LIMITS_OLDEST", "1d")]);
    let more = point(500, r#""used_bytes":2,"more":3.5,"text":"a""#);
    let other = more.replace("\"memory\"", "\"queue\"");
    send(
        &brokers,
        &topic,
        &[
            points(&[more, other]),
            ("h".to_owned(), b"not json".to_vec()),
        ],
    );
    sink(&[]);
    reads(&roles, 301);
    let rows = || roles.database.number("select count(*) from memory");
    succeeds(&["store", "migrate"], &url, &[]);
    succeeds(
        &["dead-letters", "replay", "--reason", "too_old"],
        &url,
        &[],
    );
    assert_eq!(rows(), Some(302));
    // Its partition is dropped, or it is deleted.
    succeeds(&["store", "retention", "--retention", "1d"], &url, &[]);
    assert_eq!(rows(), Some(301));
    let delete = ["dead-letters", "delete", "--all"];
    let (succeeded, said) = run(&delete, &roles.url("tidegauge_dashboard"), &[]);
    assert!(!succeeded && said.contains("denied"), "{said}");
    succeeds(&delete, &url, &[]);
    roles.assert_refused("tidegauge_dashboard", WRITES);
}

fn a_sink_on_tables_of_somebody_else(kind: Kind, test: &str) {
    let Some(brokers) = kafka(test) else { return };
    let Some(mut roles) = Roles::start(kind, test) else {
        return;
    };
    let topic = random_topic("roles");
    make_topic(&brokers, &topic, 1);
    let apart = if kind == Kind::Postgres {
        "postgres apart"
    } else {
        "mysql apart"
    };
    roles.run(apart);
    let sql = succeeds(
        &["store", "migrate", "--print-sql"],
        &roles.database.url(),
        &[],
    );
    roles.query_as("tidegauge_migrate", &sql).unwrap();
    if kind == Kind::Postgres {
        let ahead = "select tidegauge_make_partitions(current_date - 1, current_date + 14)";
        roles.query_as("tidegauge_migrate", ahead).unwrap();
        // These messages have no sequences.
        let keyed = "select tidegauge_make_keyed('memory')";
        roles.query_as("tidegauge_migrate", keyed).unwrap();
    }
    roles.run(&format!("{apart}, afterwards"));

    let url = roles.url("tidegauge_sink");
    let many: Vec<String> = (0..300).map(|n| point(n, r#""used_bytes":1.5"#)).collect();
    let new = point(400, r#""used_bytes":1"#).replace("\"memory\"", "\"queue\"");
    send(
        &brokers,
        &topic,
        &[points(&many), points(&many[..5]), points(&[new])],
    );
    let arguments = [
        "sink",
        "--until-end",
        "--brokers",
        &brokers,
        "--topic",
        &topic,
    ];
    let unmanaged = [("TIDEGAUGE_STORE_MANAGE_SCHEMA", "false")];
    succeeds(
        &[&arguments[..], &["--group", &topic]].concat(),
        &url,
        &unmanaged,
    );
    let said = succeeds(&["dead-letters", "list"], &url, &unmanaged);
    assert!(said.contains("not_in_schema"), "{said}");
    succeeds(&["dead-letters", "delete", "--all"], &url, &unmanaged);
    reads(&roles, 300);
    roles.assert_refused("tidegauge_dashboard", WRITES);
    roles.assert_refused(
        "tidegauge_sink",
        &[
            "drop table m_memory",
            "create table x (n int)",
            "delete from m_memory",
            "drop view memory",
        ],
    );
    // A later version is brought by whom the tables belong to.
    succeeds(&["store", "migrate"], &roles.url("tidegauge_migrate"), &[]);
}
