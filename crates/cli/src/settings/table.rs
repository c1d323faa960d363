//! The settings: one table from which flags, environment variables, the file's keys, defaults and
//! help come.

use super::value::Type;
use tidegauge_agent::collectors::settings::GroupBy;
use tidegauge_kafka::SaslMechanism;
use tidegauge_wire::TimeUnit;

/// The commands that take a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    Up,
    Agent,
    Sink,
    Collect,
    Check,
    Doctor,
    Query,
    Dashboard,
    Store,
    DeadLetters,
    /// `config`, which takes all settings, as it tells what they are for all commands.
    Config,
    Generate,
    /// `reload`, which finds the program that runs by its state folder.
    Reload,
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Section and key of the file, `kafka.brokers`; the variable is `TIDEGAUGE_KAFKA_BROKERS`.
    pub(crate) key: &'static str,
    /// The flag, without its dashes; none for settings that only the file and the environment have.
    pub(crate) flag: Option<&'static str>,
    /// What its text must be.
    pub(crate) kind: Type,
    /// Used when nothing else is said; none: absent.
    pub(crate) default: Option<&'static str>,
    /// The commands that take it.
    pub(crate) commands: &'static [For],
    /// What it means, one sentence.
    pub(crate) help: &'static str,
}

impl Setting {
    /// Whether a command takes it.
    pub(crate) fn is_for(&self, of: For) -> bool {
        of == For::Config || self.commands.contains(&of)
    }

    /// The environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("TIDEGAUGE_{}", self.key.replace('.', "_").to_uppercase())
    }
}

use For::{Agent, Check, Collect, Dashboard, DeadLetters, Doctor, Query, Reload, Sink, Store, Up};
pub(super) const AGENTS: &[For] = &[Up, Agent];
const HOSTS: &[For] = &[Up, Agent, Collect];
const SINKS: &[For] = &[Up, Sink];
const LIMITS: &[For] = &[Up, Sink, DeadLetters];
const KAFKA: &[For] = &[Agent, Sink, Doctor];
const FOREIGN: &[For] = &[Sink, DeadLetters];
const STORES: &[For] = &[Sink, Doctor, Query, Dashboard, Store, DeadLetters];
const CHECKS: &[For] = &[Up, Agent, Check];
const SERVES: &[For] = &[Up, Agent, Sink, Dashboard, Doctor];
const STATE: &[For] = &[
    Up,
    Agent,
    Sink,
    Reload,
    Doctor,
    Query,
    Dashboard,
    Store,
    DeadLetters,
];

const fn row(
    key: &'static str,
    flag: Option<&'static str>,
    kind: Type,
    default: Option<&'static str>,
    commands: &'static [For],
    help: &'static str,
) -> Setting {
    Setting {
        key,
        flag,
        kind,
        default,
        commands,
        help,
    }
}

// What each of our servers has, in the words of all.
const CERTIFICATE_FILE: &str = "PEM file with the certificate to show and its chain, which turns on TLS; read again when it was replaced.";
const KEY_FILE: &str = "PEM file with its key, without a password.";
const TOKEN_FILE: &str = "File with the token, read again when it was replaced.";
const TOKEN_COMMAND: &str = "Command, for the shell, that prints the token.";
const USERS_FILE: &str = "File of users who come in with a password, a line `name:hash` each as `tidegauge config hash-password NAME` prints it; read again when it was replaced.";
const HOSTS_HELP: &str = "Further names under which it is asked, beside localhost, addresses and the host's own name; `*.example.org` for all below one.";
const ALLOW_INSECURE: &str =
    "Whether it may listen on an address that other hosts reach without a token and without users.";

/// All settings, in the order of the reference.
#[rustfmt::skip]
pub(crate) const SETTINGS: &[Setting] = &[
    row("general.state_dir", Some("state-dir"), Type::Path, None, STATE,
        "Folder for the spool, the identity and the database of `up`; by default the XDG state folder, /var/lib/tidegauge for root."),
    row("general.listen", Some("listen"), Type::Address, None, &[Up, Agent, Sink, Dashboard],
        "Address to serve on: the page of `up` and `dashboard` (default 127.0.0.1:7710), /metrics and /healthz of `agent` and `sink` (default: none)."),
    row("general.cycles", Some("cycles"), Type::Count, None, &[Up, Agent, Sink],
        "Stop after so many collections (agent) or committed steps (sink)."),
    row("general.duration", Some("duration"), Type::Duration, None, &[Up, Agent, Sink],
        "Stop after this time."),

    row("web.certificate_file", None, Type::Path, None, SERVES,
        CERTIFICATE_FILE),
    row("web.key_file", None, Type::Path, None, SERVES,
        KEY_FILE),
    row("web.token", None, Type::Secret, None, SERVES,
        "What those must know who read the page, /metrics or /healthz in full, as the header `authorization: Bearer …` or as a password; no flag, as others see command lines."),
    row("web.token_file", None, Type::Path, None, SERVES,
        TOKEN_FILE),
    row("web.token_command", None, Type::Text, None, SERVES,
        TOKEN_COMMAND),
    row("web.users_file", None, Type::Path, None, SERVES,
        USERS_FILE),
    row("web.hosts", None, Type::List, None, SERVES,
        HOSTS_HELP),
    row("web.allow_insecure", None, Type::Flag, Some("false"), SERVES,
        "Whether `general.listen` may be an address that other hosts reach without a token and without users."),

    row("kafka.brokers", Some("brokers"), Type::List, None, KAFKA,
        "Brokers to begin with, as host:port,host:port."),
    row("kafka.topic", Some("topic"), Type::Text, Some("tidegauge"), KAFKA,
        "The topic."),
    row("kafka.encoding", Some("encoding"), Type::Text, Some("json"), KAFKA,
        "The encoding that the agent sends, json or compact; for the sink, that of messages whose header does not say it, also influx, telegraf-json, prometheus-remote-write or otlp."),
    row("kafka.partitions", Some("partitions"), Type::Count, None, &[Agent],
        "Partitions of the topic if the agent has to make it; by default the broker's setting."),
    row("kafka.replication", Some("replication"), Type::Count, None, &[Agent],
        "Replicas of the topic if the agent has to make it; by default the broker's setting."),

    row("kafka.properties", None, Type::Pairs, None, KAFKA,
        "Further properties of librdkafka, as name=text; those that carry the delivery contract, or have a setting, are refused."),

    row("kafka.tls.enabled", None, Type::Flag, None, KAFKA,
        "Whether connections are encrypted; by default true as soon as anything of this section or [kafka.sasl] is set."),
    row("kafka.tls.ca_file", Some("kafka-ca-file"), Type::Path, None, KAFKA,
        "PEM file with the authorities to trust for brokers, instead of the system's."),
    row("kafka.tls.certificate_file", Some("kafka-certificate-file"), Type::Path, None, KAFKA,
        "PEM file with the client's certificate."),
    row("kafka.tls.key_file", Some("kafka-key-file"), Type::Path, None, KAFKA,
        "PEM file with its key, encrypted or not."),
    row("kafka.tls.key_password_file", Some("kafka-key-password-file"), Type::Path, None, KAFKA,
        "File with the password of the key, or of the PKCS#12 file."),
    row("kafka.tls.key_password", None, Type::Secret, None, KAFKA,
        "The password itself; no flag, as others see command lines."),
    row("kafka.tls.pkcs12_file", Some("kafka-pkcs12-file"), Type::Path, None, KAFKA,
        "PKCS#12 file with certificate and key, instead of the two."),

    row("kafka.sasl.mechanism", Some("sasl-mechanism"), Type::Choice(SaslMechanism::WORDS), None, KAFKA,
        "How brokers are shown who this is: by name and password, or by a token (OAUTHBEARER)."),
    row("kafka.sasl.username", Some("sasl-username"), Type::Text, None, KAFKA,
        "The name."),
    row("kafka.sasl.password_file", Some("sasl-password-file"), Type::Path, None, KAFKA,
        "File with the password."),
    row("kafka.sasl.password_command", None, Type::Text, None, KAFKA,
        "Command, for the shell, that prints the password."),
    row("kafka.sasl.password", None, Type::Secret, None, KAFKA,
        "The password itself; no flag, as others see command lines."),
    row("kafka.sasl.token_url", Some("sasl-token-url"), Type::Text, None, KAFKA,
        "For OAUTHBEARER: where an OpenID Connect provider gives tokens for client credentials; https, or http on loopback."),
    row("kafka.sasl.client_id", Some("sasl-client-id"), Type::Text, None, KAFKA,
        "The client's id there."),
    row("kafka.sasl.client_secret_file", Some("sasl-client-secret-file"), Type::Path, None, KAFKA,
        "File with the client's secret."),
    row("kafka.sasl.client_secret_command", None, Type::Text, None, KAFKA,
        "Command, for the shell, that prints it."),
    row("kafka.sasl.client_secret", None, Type::Secret, None, KAFKA,
        "The secret itself; no flag, as others see command lines."),
    row("kafka.sasl.scope", None, Type::Text, None, KAFKA,
        "The scope to ask for, if the provider wants one."),
    row("kafka.sasl.audience", None, Type::Text, None, KAFKA,
        "The audience to ask for, if the provider wants one."),
    row("kafka.sasl.token_ca_file", None, Type::Path, None, KAFKA,
        "PEM file with the authorities to trust for the provider, instead of the system's."),
    row("kafka.sasl.token_file", Some("sasl-token-file"), Type::Path, None, KAFKA,
        "For OAUTHBEARER: file with the token, which somebody else keeps fresh; read again before each expires."),
    row("kafka.sasl.token_command", None, Type::Text, None, KAFKA,
        "Command, for the shell, that prints the token."),
    row("kafka.sasl.token", None, Type::Secret, None, KAFKA,
        "The token itself; no flag, as others see command lines."),

    row("agent.interval", Some("interval"), Type::Duration, Some("10s"), AGENTS,
        "Time between two collections; `up` takes 1s if nothing is said."),
    row("agent.collectors", Some("collectors"), Type::List, None, HOSTS,
        "The collectors to run; by default all that are on by default."),
    row("agent.check", Some("check"), Type::Urls, None, AGENTS,
        "URLs to check; may be repeated. More about a check is said in the file, as [[agent.checks]]."),
    row("agent.targets", Some("targets"), Type::Path, None, AGENTS,
        "A file of targets to check: a URL a line with comments behind #, or [[checks]] where its name ends with .toml, or a list where it ends with .json, .yaml or .yml, also of Prometheus' file_sd."),
    row("agent.check_interval", Some("check-interval"), Type::Duration, Some("10s"), AGENTS,
        "Time between two checks of a URL."),
    row("agent.check_deadline", Some("deadline"), Type::Duration, None, CHECKS,
        "The longest that one check may take; by default its interval, but at most 10s."),
    row("agent.srv_interval", None, Type::Duration, Some("30s"), AGENTS,
        "How often the targets of services are looked up, as http+srv://_http._tcp.example.org/ (SRV records)."),
    row("agent.checks_at_once", None, Type::Count, Some("1000"), AGENTS,
        "Checks that may be under way at once; others that are due wait, which their start_delay_seconds tells."),
    row("agent.checks_at_once_per_host", None, Type::Count, Some("100"), AGENTS,
        "The same for each destination host."),
    row("agent.labels", Some("label"), Type::Pairs, None, AGENTS,
        "Labels of this host, as name=text; may be repeated."),
    row("agent.host", Some("host-name"), Type::Text, None, HOSTS,
        "The host name to send, instead of the kernel's."),
    row("agent.id", Some("agent-id"), Type::Text, None, AGENTS,
        "The agent's id, instead of the one that comes from the machine id or the state folder."),
    row("agent.proc_root", Some("proc-root"), Type::Path, Some("/proc"), HOSTS,
        "Where the host's /proc is mounted."),
    row("agent.sys_root", Some("sys-root"), Type::Path, Some("/sys"), HOSTS,
        "Where the host's /sys is mounted."),
    row("agent.root_fs", Some("root-fs"), Type::Path, Some("/"), HOSTS,
        "Where the host's root file system is mounted."),
    row("agent.spool_bytes", Some("spool-bytes"), Type::Bytes, Some("1GiB"), AGENTS,
        "Bytes that the spool may hold; beyond that the oldest batches are dropped, counted and told."),
    row("agent.spool_age", Some("spool-age"), Type::Duration, Some("30d"), AGENTS,
        "Age that a batch in the spool may reach; older ones are dropped, counted and told."),

    row("process.group_by", None, Type::Choice(GroupBy::WORDS), Some("name"), HOSTS,
        "By what the collector `process` puts processes into groups; `process` tells each by itself."),
    row("process.only", None, Type::List, None, HOSTS,
        "The groups that it tells, where `*` stands for any text; by default all."),
    row("process.top", None, Type::Count, Some("50"), HOSTS,
        "Groups that it tells at most: those that used the most since the collection before."),
    row("process.top_by", None, Type::Choice(&["cpu", "memory"]), Some("cpu"), HOSTS,
        "What the most is of."),
    row("process.pss", None, Type::Flag, Some("false"), HOSTS,
        "Whether it reads the proportional share of memory too, which takes long for large processes."),

    row("cgroup.depth", None, Type::Count, Some("5"), HOSTS,
        "How many levels below the root the collector `cgroup` looks for control groups."),
    row("cgroup.most", None, Type::Count, Some("200"), HOSTS,
        "Control groups that it tells at most, those near the root first."),

    row("systemd.only", None, Type::List, Some("*.service"), HOSTS,
        "The units that the collector `systemd` tells, where `*` stands for any text."),
    row("systemd.most", None, Type::Count, Some("500"), HOSTS,
        "Units that it tells at most."),

    row("listeners.measurements", None, Type::Count, Some("300"), AGENTS,
        "Measurements that one listener may take from applications; each is a table."),
    row("listeners.fields_per_measurement", None, Type::Count, Some("200"), AGENTS,
        "Fields of one measurement that a listener may take."),
    row("listeners.series", None, Type::Count, Some("10000"), AGENTS,
        "Series of the last hour that one listener may take."),
    row("listeners.message_bytes", None, Type::Bytes, Some("10MiB"), AGENTS,
        "Bytes of one message that a listener takes, decompressed."),

    row("statsd.listen", None, Type::Address, None, AGENTS,
        "Address where the listener `statsd` takes UDP, such as 127.0.0.1:8125; by default it does not listen."),
    row("statsd.listen_tcp", None, Type::Address, None, AGENTS,
        "Address where it takes TCP, a line per sample."),
    row("statsd.listen_unix", None, Type::Path, None, AGENTS,
        "Socket where it takes unix datagrams; a socket that was left behind is replaced."),
    row("statsd.interval", None, Type::Duration, Some("10s"), AGENTS,
        "How often it hands on what came, put together by series."),
    row("statsd.expiry", None, Type::Duration, Some("1h"), AGENTS,
        "How long a counter or a gauge is told on when nothing comes; a counter then begins again at 0."),
    row("statsd.prefix", None, Type::Text, None, AGENTS,
        "A name that is put before all its measurements, with `_` between them."),
    row("statsd.allow_insecure", None, Type::Flag, Some("false"), AGENTS,
        "Whether it may listen on addresses that other hosts reach: StatsD has no authentication."),

    row("influx.listen", None, Type::Address, None, AGENTS,
        "Address where the listener `influx` takes the writes of InfluxDB's clients, such as 127.0.0.1:8086; by default it does not listen."),
    row("influx.token", None, Type::Secret, None, AGENTS,
        "What clients must know: as token of version 2, or as password of version 1."),
    row("influx.token_file", None, Type::Path, None, AGENTS,
        TOKEN_FILE),
    row("influx.token_command", None, Type::Text, None, AGENTS,
        TOKEN_COMMAND),
    row("influx.users_file", None, Type::Path, None, AGENTS,
        USERS_FILE),
    row("influx.certificate_file", None, Type::Path, None, AGENTS,
        CERTIFICATE_FILE),
    row("influx.key_file", None, Type::Path, None, AGENTS,
        KEY_FILE),
    row("influx.hosts", None, Type::List, None, AGENTS,
        HOSTS_HELP),
    row("influx.prefix", None, Type::Text, None, AGENTS,
        "A name that is put before all its measurements, with `_` between them."),
    row("influx.allow_insecure", None, Type::Flag, Some("false"), AGENTS,
        ALLOW_INSECURE),

    row("otlp.listen", None, Type::Address, None, AGENTS,
        "Address where the listener `otlp` takes metrics of OpenTelemetry over HTTP, such as 127.0.0.1:4318; by default it does not listen."),
    row("otlp.listen_grpc", None, Type::Address, None, AGENTS,
        "Address where it takes them over gRPC, such as 127.0.0.1:4317."),
    row("otlp.token", None, Type::Secret, None, AGENTS,
        "What exporters must know, as the header `authorization: Bearer …`."),
    row("otlp.token_file", None, Type::Path, None, AGENTS,
        TOKEN_FILE),
    row("otlp.token_command", None, Type::Text, None, AGENTS,
        TOKEN_COMMAND),
    row("otlp.users_file", None, Type::Path, None, AGENTS,
        USERS_FILE),
    row("otlp.certificate_file", None, Type::Path, None, AGENTS,
        CERTIFICATE_FILE),
    row("otlp.key_file", None, Type::Path, None, AGENTS,
        KEY_FILE),
    row("otlp.hosts", None, Type::List, None, AGENTS,
        HOSTS_HELP),
    row("otlp.prefix", None, Type::Text, None, AGENTS,
        "A name that is put before all its measurements, with `_` between them."),
    row("otlp.allow_insecure", None, Type::Flag, Some("false"), AGENTS,
        ALLOW_INSECURE),

    row("prometheus.scrape", Some("scrape"), Type::Urls, None, AGENTS,
        "Pages of metrics that the listener `prometheus` fetches; may be repeated. More about a page is said in the file, as [[prometheus.targets]]."),
    row("prometheus.interval", None, Type::Duration, Some("10s"), AGENTS,
        "Time between two fetches of a page."),

    row("textfile.folder", Some("textfile"), Type::Path, None, AGENTS,
        "The folder whose files *.prom the listener `textfile` reads; by default it reads none."),
    row("textfile.interval", None, Type::Duration, Some("10s"), AGENTS,
        "How often it reads them."),
    row("textfile.prefix", None, Type::Text, None, AGENTS,
        "A name that is put before all its measurements, with `_` between them."),

    row("exec.interval", None, Type::Duration, Some("60s"), AGENTS,
        "How often the listener `exec` runs the programs of [[exec.programs]]."),

    row("heartbeat.listen", None, Type::Address, None, AGENTS,
        "Address where the listener `heartbeat` takes the calls of [[heartbeat.jobs]], such as 127.0.0.1:7720; by default it does not listen."),
    row("heartbeat.token", None, Type::Secret, None, AGENTS,
        "What jobs must know, as the header `authorization: Bearer …` or behind their name in the path."),
    row("heartbeat.token_file", None, Type::Path, None, AGENTS,
        TOKEN_FILE),
    row("heartbeat.token_command", None, Type::Text, None, AGENTS,
        TOKEN_COMMAND),
    row("heartbeat.users_file", None, Type::Path, None, AGENTS,
        USERS_FILE),
    row("heartbeat.certificate_file", None, Type::Path, None, AGENTS,
        CERTIFICATE_FILE),
    row("heartbeat.key_file", None, Type::Path, None, AGENTS,
        KEY_FILE),
    row("heartbeat.hosts", None, Type::List, None, AGENTS,
        HOSTS_HELP),
    row("heartbeat.allow_insecure", None, Type::Flag, Some("false"), AGENTS,
        ALLOW_INSECURE),

    row("store.url", Some("store"), Type::Secret, None, STORES,
        "The database: postgres://user:password@host:5432/database, mysql://user:password@host:3306/database or sqlite:path; read commands take the database of `up` if nothing is said."),
    row("store.password_file", Some("store-password-file"), Type::Path, None, STORES,
        "File with the password of the user that `store.url` names, instead of one in the URL."),
    row("store.password_command", None, Type::Text, None, STORES,
        "Command, for the shell, that prints the password."),
    row("store.password", None, Type::Secret, None, STORES,
        "The password itself; no flag, as others see command lines."),
    row("store.connect_deadline", None, Type::Duration, Some("10s"), STORES,
        "The longest that making a connection may take."),
    row("store.statement_deadline", None, Type::Duration, Some("60s"), STORES,
        "The longest that one statement or one COPY may take."),
    row("store.manage_schema", None, Type::Flag, Some("true"), &[Sink, Store, DeadLetters],
        "Whether tables, columns, views and partitions are made; if not, they must be there, and rights to select, insert and update are enough."),
    row("store.settle_after", None, Type::Duration, Some("1h"), &[Sink, Store],
        "How long after its end a partition is left open for late rows, before it is sorted (PostgreSQL)."),
    row("store.retention", Some("retention"), Type::Duration, None, &[Up, Sink, Store],
        "How long rows are kept; by default for ever, 30d in the database of `up`."),
    row("store.retention_of", Some("retention-of"), Type::Pairs, None, &[Up, Sink, Store],
        "How long rows of single measurements are kept, as name=duration; may be repeated."),

    row("sink.group", Some("group"), Type::Text, Some("tidegauge"), &[Sink, Doctor],
        "The consumer group; sinks of one group share the partitions."),
    row("sink.session_timeout", None, Type::Duration, Some("10s"), &[Sink],
        "Silence after which the group gives the partitions of a sink that died to others; brokers refuse less than their `group.min.session.timeout.ms`, 6s by default."),
    row("sink.until_end", Some("until-end"), Type::Flag, None, &[Sink],
        "Stop when every partition has reached the end that it had at the start."),
    row("sink.host_tags", Some("host-tags"), Type::List, None, FOREIGN,
        "The tags that name the host in foreign encodings, the best one first; by default those that are usual in the encoding."),
    row("sink.default_host", Some("default-host"), Type::Text, None, FOREIGN,
        "The host of points of foreign encodings that have none of these tags; without it they are dead letters."),
    row("sink.time_unit", Some("time-unit"), Type::Choice(TimeUnit::WORDS), None, FOREIGN,
        "The unit of times in influx (by default ns) and telegraf-json (by default s)."),
    row("sink.step_points", None, Type::Count, Some("25000"), SINKS,
        "Points that one step commits at most."),
    row("sink.step_bytes", None, Type::Bytes, Some("8MiB"), SINKS,
        "Bytes of messages that one step commits at most."),
    row("sink.dead_letter_age", None, Type::Duration, Some("30d"), SINKS,
        "How long dead letters are kept; older ones are removed and counted."),
    row("sink.dead_letter_bytes", None, Type::Bytes, Some("1GiB"), SINKS,
        "Bytes that dead letters may take; beyond that the oldest are removed and counted."),
    row("sink.on_lost_messages", Some("on-lost-messages"), Type::Choice(&["stop", "skip_and_record"]), Some("stop"), &[Sink],
        "What is done when a stored position is not in the log any more (retention removed messages before they were read, or the log was cut): end with an error, or note the gap in the table `gap` and go on."),
    row("sink.unhealthy_after", None, Type::Duration, Some("60s"), SINKS,
        "How long something may wait without a commit before /healthz says that the sink is not healthy."),

    row("limits.measurements", None, Type::Count, Some("1000"), LIMITS,
        "Measurements in one store."),
    row("limits.fields_per_measurement", None, Type::Count, Some("500"), LIMITS,
        "Fields of one measurement."),
    row("limits.series_per_host", None, Type::Count, Some("100000"), LIMITS,
        "Series of one host."),
    row("limits.tags_per_point", None, Type::Count, Some("32"), LIMITS,
        "Tags of one point."),
    row("limits.tag_bytes", None, Type::Bytes, Some("1KiB"), LIMITS,
        "Bytes of one tag's text."),
    row("limits.text_bytes", None, Type::Bytes, Some("16KiB"), LIMITS,
        "Bytes of one text value."),
    row("limits.message_bytes", None, Type::Bytes, Some("16MiB"), LIMITS,
        "Bytes of one message."),
    row("limits.oldest", None, Type::Duration, Some("400d"), LIMITS,
        "How old a sample may be when it arrives."),
    row("limits.ahead", None, Type::Duration, Some("1h"), LIMITS,
        "How far ahead of the sink's clock a sample may be."),

    row("log.level", Some("log-level"), Type::Levels, None,
        &[Up, Agent, Sink, Collect, Check, Doctor, Query, Dashboard, Store, DeadLetters],
        "What is logged, instead of what -v says: a level for all (off, error, warn, info, debug, trace), and levels of single modules, as info,tidegauge_sink=debug."),
    row("log.format", Some("log-format"), Type::Choice(&["text", "json"]), Some("text"),
        &[Up, Agent, Sink, Collect, Check, Doctor, Query, Dashboard, Store, DeadLetters],
        "How log lines are written to stderr."),
];

/// What an agent takes up while it runs, when it reads its files again, beside pages, which all commands
/// take up: keys, and sections with all of their keys. The rest waits for a restart.
pub(crate) const WHILE_RUNNING: &[&str] = &[
    "agent.check",
    "agent.targets",
    "agent.check_interval",
    "agent.check_deadline",
    "agent.checks",
    "listeners",
    "statsd",
    "influx",
    "otlp",
    "prometheus",
    "textfile",
    "exec",
    "heartbeat",
];

/// Whether an agent takes a key up while it runs.
pub(crate) fn is_for_while_running(key: &str) -> bool {
    let section = key.split('.').next();
    WHILE_RUNNING
        .iter()
        .any(|known| *known == key || Some(*known) == section)
}

/// The setting of this key.
pub(crate) fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

#[cfg(test)]
mod tests {
    use super::super::tables::TABLES;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_sound() {
        let mut keys = BTreeSet::new();
        let mut flags = BTreeSet::new();
        for setting in SETTINGS {
            assert!(keys.insert(setting.key), "{}", setting.key);
            assert!(
                setting.flag.is_none_or(|flag| flags.insert(flag)),
                "{}",
                setting.key
            );
            assert!(setting.help.ends_with('.'), "{}", setting.key);
            assert!(
                setting.key.contains('.') && !setting.commands.is_empty(),
                "{}",
                setting.key
            );
            if let Some(default) = setting.default {
                setting.kind.check(default).expect(setting.key);
            }
        }
        keys.extend(TABLES.iter().map(|table| table.key));
        let is_known = |known: &str| {
            let in_section = |key: &&str| key.split('.').next() == Some(known);
            keys.contains(known) || keys.iter().any(in_section)
        };
        assert!(WHILE_RUNNING.iter().all(|known| is_known(known)));
    }
}
