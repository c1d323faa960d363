//! Brokers: name, TCP, TLS and authentication, the topic.

use super::{DEADLINE, Findings};
use tidegauge_kafka::{Admin, KafkaError, KafkaSettings, why_unreachable};
use tokio::time::timeout;

pub(super) async fn check(kafka: Option<&KafkaSettings>, topic: &str) -> Findings {
    let mut findings = Findings::default();
    let Some(kafka) = kafka else {
        findings.ok(
            "brokers",
            "none are set: nothing is sent to or read from Kafka",
        );
        return findings;
    };
    if !reachable(kafka, &mut findings).await {
        return findings;
    }
    let settings = kafka.clone();
    let why = tokio::task::spawn_blocking(move || why_unreachable(&settings, DEADLINE)).await;
    let how = match (kafka.tls.is_some(), kafka.sasl.is_some()) {
        (true, true) => "TLS and SASL",
        (true, false) => "TLS",
        (false, true) => "SASL without TLS",
        (false, false) => "plaintext",
    };
    match why {
        Ok(None) => findings.ok("security", format!("brokers answer by {how}")),
        Ok(Some(reason)) => {
            findings.failed("security", reason);
            return findings;
        }
        Err(error) => {
            findings.failed("security", error.to_string());
            return findings;
        }
    }
    match look_at(kafka, topic).await {
        Ok(Some(partitions)) => findings.ok("topic", format!("{topic}: {partitions} partitions")),
        Ok(None) => findings.warning(
            "topic",
            format!("{topic} does not exist: an agent makes it, if it has the right CREATE"),
        ),
        Err(error @ KafkaError::NotAuthorized { .. }) => findings.failed(
            "topic",
            format!(
                "{}: give this user DESCRIBE on topic {topic}, WRITE for agents, READ for sinks",
                super::told(&error)
            ),
        ),
        Err(error) => findings.failed("topic", super::told(&error)),
    }
    findings
}

async fn look_at(kafka: &KafkaSettings, topic: &str) -> Result<Option<i32>, KafkaError> {
    let found = Admin::new(kafka)?.topic(topic, DEADLINE).await?;
    Ok(found.map(|found| found.partitions))
}

/// Whether a TCP connection to one broker at least is made.
async fn reachable(kafka: &KafkaSettings, findings: &mut Findings) -> bool {
    let mut any = false;
    for broker in &kafka.brokers {
        match timeout(DEADLINE, tokio::net::TcpStream::connect(broker)).await {
            Ok(Ok(_)) => {
                any = true;
                findings.ok("broker", format!("{broker} takes connections"));
            }
            Ok(Err(error)) => findings.failed(
                "broker",
                format!("{broker}: {error}: look at kafka.brokers (host:port), this host's DNS, and whether the broker is up"),
            ),
            Err(_) => findings.failed(
                "broker",
                format!("{broker}: no connection within {} s: is there a firewall in between?", DEADLINE.as_secs()),
            ),
        }
    }
    any
}
