//! The probe `kafka`: a broker answers who is in its cluster, and that a topic is there and can be used.
//!
//! The name is looked up and a connection opened as by all probes, so that these phases and their reasons
//! are the same. The question is asked by librdkafka over connections of its own, in a thread, because
//! it blocks; TLS and the login are part of it.

use super::exchange::{Failure, Progress, Target};
use super::keys::{
    CA_FILE, CERTIFICATE_FILE, KEY_FILE, KeyKind, MAX_TIME, PASSWORD, PASSWORD_FILE, ProbeKey, TLS,
    USERNAME, secret,
};
use super::settings::setting;
use super::{
    AgentError, CheckReason, CheckSettings, Finding, Probe, ProbeContext, ProbeEntry, chain,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tidegauge_kafka::{Answer, KafkaSettings, Obstacle, Sasl, SaslMechanism, Tls, Unanswered, ask};
use tidegauge_model::{Clock, name};

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "kafka",
    measurement: name!("kafka_check"),
    schemes: &["kafka"],
    description: "A broker of Kafka answers who is in its cluster; a topic is there, and all its partitions have leaders.",
    keys: &[
        TLS,
        CA_FILE,
        CERTIFICATE_FILE,
        KEY_FILE,
        USERNAME,
        PASSWORD,
        PASSWORD_FILE,
        ProbeKey {
            key: "sasl_mechanism",
            kind: KeyKind::Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
            help: "How the user is shown to Kafka; by default SCRAM-SHA-512.",
        },
        MAX_TIME,
    ],
    new: |settings, context| Ok(Box::new(KafkaProbe::new(settings, context)?)),
};

/// So much of the deadline is kept for closing what librdkafka opened.
const CLOSING: Duration = Duration::from_millis(20);

struct KafkaProbe {
    target: Target,
    settings: KafkaSettings,
    topic: Option<String>,
    max_time: Option<Duration>,
}

impl KafkaProbe {
    fn new(settings: &CheckSettings, context: &ProbeContext) -> Result<Self, AgentError> {
        let (own, address) = (settings.own(), settings.address());
        if settings.source_address().is_some() {
            let problem = "the client of Kafka connects from any address";
            return Err(setting("source_address", problem));
        }
        if address.authorization.is_some() {
            let problem = "the user is said by `username` and `password_file`";
            return Err(setting("url", problem));
        }
        let path = |key: &str| own.path(key).map(ToOwned::to_owned);
        let tls = Tls {
            ca_file: path("ca_file"),
            certificate_file: path("certificate_file"),
            key_file: path("key_file"),
            ..Tls::default()
        };
        let with_tls = own.flag("tls") || tls.ca_file.is_some() || tls.certificate_file.is_some();
        let password = secret(own, "password", "password_file")?;
        let mechanism = own.text("sasl_mechanism");
        let sasl = match (own.text("username"), password) {
            (Some(username), Some(password)) => Some(Sasl::Password {
                mechanism: mechanism
                    .and_then(SaslMechanism::parse)
                    .unwrap_or(SaslMechanism::ScramSha512),
                username: username.to_owned(),
                password: password.into(),
            }),
            (None, None) if mechanism.is_none() => None,
            _ => {
                let problem = "it goes with a `password_file` or a `password`";
                return Err(setting("username", problem));
            }
        };
        let target = Target::new(settings, context, Some(9092))?;
        let host = match target.host.contains(':') {
            true => format!("[{}]", target.host),
            false => target.host.clone(),
        };
        let settings = KafkaSettings {
            brokers: vec![format!("{host}:{}", target.port)],
            tls: with_tls.then_some(tls),
            sasl,
            ..KafkaSettings::default()
        };
        settings
            .check()
            .map_err(|error| setting("url", chain(&error)))?;
        let topic = address.path.trim_start_matches('/');
        Ok(Self {
            target,
            settings,
            topic: (!topic.is_empty()).then(|| topic.to_owned()),
            max_time: own.duration(MAX_TIME.key),
        })
    }

    async fn exchange(&self, began: Instant, progress: &mut Progress) -> Result<(), Failure> {
        let stream = self.target.connect(progress).await?;
        // Where this one came through, librdkafka's will: it must not try the other family first.
        let family = match stream.peer_addr() {
            Ok(peer) if peer.is_ipv6() => "v6",
            _ => "v4",
        };
        drop(stream);
        progress.phase = "waiting for the answer";
        let mut settings = self.settings.clone();
        settings.properties =
            BTreeMap::from([("broker.address.family".to_owned(), family.to_owned())]);
        let topic = self.topic.clone();
        let left = self
            .target
            .deadline
            .saturating_sub(began.elapsed() + CLOSING);
        let asked = Instant::now();
        let answer =
            tokio::task::spawn_blocking(move || ask(&settings, topic.as_deref(), left)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(Failure::new(CheckReason::Protocol, chain(&error))),
            Err(error) => return Err(Failure::new(CheckReason::Protocol, error)),
        };
        let answer = answer.map_err(|unanswered| self.failure(unanswered))?;
        progress.took(name!("answer_seconds"), asked);
        self.judge(&answer, progress)?;
        progress.expect_within(self.max_time)
    }

    fn judge(&self, answer: &Answer, progress: &mut Progress) -> Result<(), Failure> {
        progress.found(name!("brokers"), answer.brokers as u64);
        let Some(topic) = &self.topic else {
            return Ok(());
        };
        let mismatch = |detail| Err(Failure::new(CheckReason::AnswerMismatch, detail));
        let Some(found) = &answer.topic else {
            return mismatch(format!("there is no topic {topic}"));
        };
        progress.found(name!("partitions"), found.partitions as u64);
        progress.found(name!("leaderless_partitions"), found.leaderless as u64);
        match (found.leaderless, found.partitions) {
            (0, 1..) => Ok(()),
            (leaderless, partitions) => mismatch(format!(
                "{leaderless} of the {partitions} partitions of {topic} have no leader"
            )),
        }
    }

    fn failure(&self, unanswered: Unanswered) -> Failure {
        let reason = match unanswered.obstacle {
            Obstacle::Name => CheckReason::ResolveFailed,
            Obstacle::Refused => CheckReason::ConnectRefused,
            Obstacle::Certificate => CheckReason::CertificateUntrusted,
            Obstacle::Tls => CheckReason::TlsHandshake,
            Obstacle::Login => CheckReason::LoginFailed,
            Obstacle::HungUp => CheckReason::ConnectionLost,
            Obstacle::Right => CheckReason::NotPermitted,
            Obstacle::Other => CheckReason::Protocol,
            Obstacle::Time => {
                let deadline = self.target.deadline;
                let detail = format!("not done after {deadline:?}: waiting for the answer");
                return Failure::new(CheckReason::Deadline, detail);
            }
        };
        Failure::new(reason, unanswered.said)
    }
}

#[async_trait]
impl Probe for KafkaProbe {
    async fn check(&self, clock: &dyn Clock) -> Finding {
        let mut progress = Progress::begin();
        let (deadline, began) = (self.target.deadline, Instant::now());
        let ended = tokio::time::timeout(deadline, self.exchange(began, &mut progress)).await;
        progress.finding(ended, deadline, clock)
    }
}
