//! One Apache Kafka, broker and controller in one process (KRaft), with every kind of listener.
//!
//! A PLAINTEXT listener, an SSL one that asks for a client certificate, and a SASL_SSL one with
//! PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER with tokens that nobody signed
//! ([`crate::unsecured_token`]). Who is nobody on the first listener, or `alice`, may do all; `bob` may do
//! what a test lets him do ([`super::allow`]).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::certificates::write_certificates;
use super::distribution::{Distribution, java};
use super::folder::{Folder, Place};
use super::kafka_metadata::kafka_metadata;
use super::kafka_partitions::create_partitions;
use super::port::free_port;
use super::process::{Lifetime, Process, Program};
use crate::services::KafkaListeners;

/// Users of the SASL listener and their passwords, the same for every mechanism.
pub const USERS: [(&str, &str); 2] = [("alice", "alice-secret"), ("bob", "bob-secret")];

/// A cold JVM on a machine that compiles at the same time.
const READY_WITHIN: Duration = Duration::from_secs(120);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// How to start a broker. The default is what most tests want.
#[derive(Debug, Clone, Default)]
pub struct KafkaOptions {
    /// Where its folder is.
    pub place: Place,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// The address of the plaintext listener that clients are told, for a proxy in between. Such a
    /// test chooses [`KafkaOptions::port`] first, starts the proxy before it, then the broker.
    pub advertised: Option<String>,
    /// The port of the plaintext listener; a free one when unset.
    pub port: Option<u16>,
    /// The cluster's id, 22 characters of base64; a random one when unset.
    pub cluster_id: Option<String>,
    /// More lines for `server.properties`, as `log.retention.ms=1000`.
    pub properties: Vec<String>,
    /// More options for Java, as `-XX:TieredStopAtLevel=1`.
    pub java_options: Vec<String>,
}

/// A broker. Its data and its ports stay the same over stop and start.
#[derive(Debug)]
pub struct KafkaServer {
    distribution: Distribution,
    folder: Folder,
    listeners: KafkaListeners,
    java_options: Vec<String>,
    lifetime: Lifetime,
    process: Option<Process>,
}

impl KafkaServer {
    /// Formats a new data folder, starts the broker and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log, when it does not come up.
    pub fn start(distribution: &Distribution, options: &KafkaOptions) -> anyhow::Result<Self> {
        let folder = Folder::make(&options.place)?;
        let certificates = folder.path().join("certificates");
        fs::create_dir_all(&certificates).context("make the folder of the certificates")?;
        write_certificates(&certificates)?;
        let listener = |port: u16| format!("127.0.0.1:{port}");
        let listeners = KafkaListeners {
            plaintext: listener(options.port.unwrap_or_else(free_port)),
            ssl: listener(free_port()),
            sasl_ssl: listener(free_port()),
            certificates,
        };
        let properties = properties(folder.path(), &listeners, options);
        fs::write(folder.path().join("server.properties"), properties)
            .context("write server.properties")?;
        let mut server = Self {
            distribution: distribution.clone(),
            folder,
            listeners,
            java_options: options.java_options.clone(),
            lifetime: options.lifetime,
            process: None,
        };
        let cluster_id = options.cluster_id.clone().unwrap_or_else(random_cluster_id);
        server.format(&cluster_id)?;
        server.start_again()?;
        Ok(server)
    }

    /// `host:port` of the plaintext listener itself.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.listeners.plaintext
    }

    /// All listeners and the certificates for them.
    #[must_use]
    pub fn listeners(&self) -> &KafkaListeners {
        &self.listeners
    }

    /// The id of the running process.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Where the broker writes its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("kafka.log")
    }

    /// Ends it in an orderly way (SIGTERM).
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.end(Signal::TERM)
    }

    /// Ends it at once (SIGKILL), as a crash.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.end(Signal::KILL)
    }

    /// Starts it again on the same ports and data and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log, when it does not come up.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "Kafka runs already");
        let mut process = Process::start(Program {
            name: "Kafka",
            program: &java(),
            arguments: self.java_arguments(&["kafka.Kafka", "server.properties"]),
            directory: self.folder.path(),
            log: self.log(),
            run_as: None,
            lifetime: self.lifetime,
        })?;
        let bootstrap = &self.listeners.plaintext;
        let outcome = process.wait_until_ready(READY_WITHIN, || {
            let metadata = kafka_metadata(bootstrap, ANSWER_WITHIN)?;
            ensure!(
                !metadata.brokers.is_empty(),
                "the controller knows no broker"
            );
            Ok(())
        });
        if outcome.is_err() {
            process.end(Signal::KILL, STOP_WITHIN)?;
        }
        outcome?;
        self.process = Some(process);
        Ok(())
    }

    /// Makes a topic have `partitions` partitions in all.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub fn grow_topic(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        create_partitions(self.bootstrap(), topic, partitions, ANSWER_WITHIN)
    }

    fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let mut process = self.process.take().context("Kafka does not run")?;
        process.end(signal, STOP_WITHIN)?;
        Ok(())
    }

    fn java_arguments(&self, arguments: &[&str]) -> Vec<String> {
        let own = [
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-cp",
            &self.distribution.kafka_class_path(),
        ];
        let options = self.java_options.iter().map(String::as_str);
        options
            .chain(own)
            .chain(arguments.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    fn format(&self, cluster_id: &str) -> anyhow::Result<()> {
        let mut arguments = vec!["kafka.tools.StorageTool", "format", "-t", cluster_id];
        arguments.extend(["-c", "server.properties"]);
        let scram: Vec<String> = ["SCRAM-SHA-256", "SCRAM-SHA-512"]
            .iter()
            .flat_map(|mechanism| {
                USERS.map(|(user, password)| {
                    format!("{mechanism}=[name={user},password={password}]")
                })
            })
            .collect();
        for user in &scram {
            arguments.extend(["--add-scram", user]);
        }
        let output = Command::new(java())
            .args(self.java_arguments(&arguments))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .context("format Kafka's folder")?;
        ensure!(
            output.status.success(),
            "Kafka's folder cannot be formatted:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

/// Sends messages of ten bytes each to a topic in transactions, whose marks are offsets without a
/// message: the tool of Kafka's own for measuring a producer.
///
/// # Errors
/// When it does not end well.
pub fn send_in_transactions(
    distribution: &Distribution,
    bootstrap: &str,
    topic: &str,
    messages: u32,
) -> anyhow::Result<()> {
    let output = Command::new(java())
        .args(["-cp", &distribution.kafka_class_path()])
        .args([
            "org.apache.kafka.tools.ProducerPerformance",
            "--topic",
            topic,
        ])
        .args([
            "--num-records",
            &messages.to_string(),
            "--record-size",
            "10",
        ])
        .args(["--throughput", "-1", "--transactional-id", topic])
        .args([
            "--producer-props",
            &format!("bootstrap.servers={bootstrap}"),
        ])
        .stdin(Stdio::null())
        .output()
        .context("run Kafka's ProducerPerformance")?;
    ensure!(
        output.status.success(),
        "messages cannot be sent in transactions:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A new cluster id: sixteen random bytes in the alphabet of Kafka's ids.
///
/// # Panics
/// When the system has no random numbers.
#[must_use]
pub fn random_cluster_id() -> String {
    // Hexadecimal digits are letters of that alphabet too; the last one carries four bits only.
    format!("{}A", crate::random_hex(21))
}

fn properties(folder: &Path, listeners: &KafkaListeners, options: &KafkaOptions) -> String {
    let KafkaListeners {
        plaintext,
        ssl,
        sasl_ssl,
        certificates,
    } = listeners;
    let controller = format!("127.0.0.1:{}", free_port());
    let told = options.advertised.as_deref().unwrap_or(plaintext);
    let certificates = certificates.display();
    let mut text = format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
listeners=PLAINTEXT://{plaintext},SSL://{ssl},SASL_SSL://{sasl_ssl},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{told},SSL://{ssl},SASL_SSL://{sasl_ssl}
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
ssl.keystore.type=PEM
ssl.keystore.location={certificates}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={certificates}/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:alice;User:CN=alice
",
        data = folder.join("data").display(),
    );
    for mechanism in ["scram-sha-256", "scram-sha-512"] {
        writeln!(
            text,
            "listener.name.sasl_ssl.{mechanism}.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;"
        )
        .expect("a string can be written");
    }
    writeln!(
        text,
        "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=\
         org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
    )
    .expect("a string can be written");
    let users = USERS
        .map(|(user, password)| format!(" user_{user}=\"{password}\""))
        .concat();
    writeln!(
        text,
        "listener.name.sasl_ssl.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required{users};"
    )
    .expect("a string can be written");
    for line in &options.properties {
        writeln!(text, "{line}").expect("a string can be written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_keeps_its_address_and_its_cluster_over_a_crash() {
        let test = "testkit: a broker keeps its address over a crash";
        let Some(distribution) = Distribution::of_environment(test) else {
            return;
        };
        let options = KafkaOptions {
            cluster_id: Some(random_cluster_id()),
            ..KafkaOptions::default()
        };
        let mut server = KafkaServer::start(&distribution, &options).unwrap();
        let bootstrap = server.bootstrap().to_owned();
        let before = kafka_metadata(&bootstrap, ANSWER_WITHIN).unwrap();
        assert_eq!(before.cluster_id, options.cluster_id);
        assert_eq!(before.brokers, std::slice::from_ref(&bootstrap));
        server.kill().unwrap();
        assert!(kafka_metadata(&bootstrap, ANSWER_WITHIN).is_err());
        server.start_again().unwrap();
        assert_eq!(kafka_metadata(&bootstrap, ANSWER_WITHIN).unwrap(), before);
        for listener in [&server.listeners.ssl, &server.listeners.sasl_ssl] {
            std::net::TcpStream::connect(listener).unwrap();
        }
        server.stop().unwrap();
        assert_eq!(server.process_id(), None);
    }
}
