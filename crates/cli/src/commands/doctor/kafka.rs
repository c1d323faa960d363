//! Brokers: name, TCP, TLS and authentication, the topic with its settings and its newest message, and our rights
//! on it and on the group. That we may make a topic or write is not tried: that would change something.

use super::{CLOCKS_APART, DEADLINE, Findings, certificates};
use crate::settings::{Settings, value};
use std::time::Duration;
use tidegauge_kafka::{
    Admin, KafkaError, KafkaSettings, TopicLook, Watermark, newest_message_ms, see_group,
    why_unreachable,
};
use tidegauge_model::{Clock as _, SystemClock, chain};
use tokio::time::{Instant, timeout};

/// A message of the agent's is smaller than this, unless it has to be larger: librdkafka's bound.
const USUAL_MESSAGE_BYTES: u64 = 1_000_000;
/// A week, Kafka's own default.
const WEEK_MS: u128 = 7 * 86_400_000;
/// How the client's words on a certificate that is not accepted send people here.
const SENT_HERE: &str = "; `tidegauge doctor` tells which";
/// Longest that the newest message is waited for.
const NEWEST_WITHIN: Duration = Duration::from_secs(3);

/// What the brokers know of the topic, for those who compare it with the database.
#[cfg_attr(
    not(feature = "stores"),
    expect(dead_code, reason = "an agent alone has no database")
)]
pub(super) struct Log {
    pub(super) topic_id: String,
    pub(super) watermarks: Vec<Watermark>,
}

pub(super) async fn check(
    kafka: Option<&KafkaSettings>,
    settings: &Settings,
    outage: Duration,
) -> (Findings, Option<Log>) {
    let mut findings = Findings::default();
    let Some(kafka) = kafka else {
        findings.ok(
            "brokers",
            "none are set: nothing is sent to or read from Kafka",
        );
        return (findings, None);
    };
    if !reachable(kafka, &mut findings).await || !accepted(kafka, &mut findings).await {
        return (findings, None);
    }
    let topic = settings.text("kafka.topic").unwrap_or_default();
    let log = match at_topic(kafka, topic, outage, &mut findings).await {
        Ok(log) => log,
        Err(error) => {
            findings.failed("topic", chain(&error));
            None
        }
    };
    group(kafka, settings.text("sink.group"), topic, &mut findings).await;
    (findings, log)
}

/// Whether a TCP connection to one broker at least is made.
async fn reachable(kafka: &KafkaSettings, findings: &mut Findings) -> bool {
    const CHECK: &str = "broker";
    let mut any = false;
    for broker in &kafka.brokers {
        let addresses = match timeout(DEADLINE, tokio::net::lookup_host(broker)).await {
            Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
            Ok(Err(error)) => {
                findings.failed(
                    CHECK,
                    format!("{broker}: {error}: look at kafka.brokers (host:port) and at this host's DNS"),
                );
                continue;
            }
            Err(_) => {
                findings.failed(
                    CHECK,
                    format!(
                        "{broker}: the name servers do not answer within {} s",
                        DEADLINE.as_secs()
                    ),
                );
                continue;
            }
        };
        let begun = Instant::now();
        match timeout(DEADLINE, tokio::net::TcpStream::connect(&addresses[..])).await {
            Ok(Ok(stream)) => {
                any = true;
                let address = stream.peer_addr().map_or_else(|_| "?".to_owned(), |at| at.to_string());
                let took = begun.elapsed().as_secs_f64() * 1e3;
                findings.ok(CHECK, format!("{broker} is {address} and takes connections ({took:.1} ms)"));
            }
            Ok(Err(error)) => findings.failed(
                CHECK,
                format!("{broker}: {error}: look at kafka.brokers (host:port), and whether the broker is up"),
            ),
            Err(_) => findings.failed(
                CHECK,
                format!("{broker}: no connection within {} s: is there a firewall in between?", DEADLINE.as_secs()),
            ),
        }
    }
    any
}

/// Whether brokers take us; with TLS also which certificates they show.
async fn accepted(kafka: &KafkaSettings, findings: &mut Findings) -> bool {
    let mut doubt = None;
    if let Some(tls) = &kafka.tls {
        for broker in &kafka.brokers {
            let found = certificates::of_broker(broker, tls.ca_file.as_deref(), findings).await;
            doubt = doubt.or(found);
        }
    }
    let settings = kafka.clone();
    let why = tokio::task::spawn_blocking(move || why_unreachable(&settings, DEADLINE)).await;
    let how = match (kafka.tls.is_some(), kafka.sasl.as_ref()) {
        (true, Some(sasl)) => format!("TLS and SASL ({})", sasl.mechanism().name()),
        (true, None) => "TLS".to_owned(),
        (false, Some(sasl)) => format!("SASL without TLS ({})", sasl.mechanism().name()),
        (false, None) => "plaintext".to_owned(),
    };
    let reason = match why {
        Ok(None) => {
            findings.ok("security", format!("brokers answer by {how}"));
            return true;
        }
        Ok(Some(reason)) => reason,
        Err(error) => error.to_string(),
    };
    // The client knows that it is one of three reasons, not which, and sends people here.
    let reason = match (doubt, reason.split_once(SENT_HERE)) {
        (Some(doubt), Some((_, said))) => format!("{doubt}{said}"),
        (None, Some((reasons, said))) => format!("{reasons}{said}"),
        _ => reason,
    };
    findings.failed("security", reason);
    false
}

async fn at_topic(
    kafka: &KafkaSettings,
    topic: &str,
    outage: Duration,
    findings: &mut Findings,
) -> Result<Option<Log>, KafkaError> {
    let admin = Admin::new(kafka)?;
    let Some(look) = admin.look(topic, DEADLINE).await? else {
        findings.warning(
            "topic",
            format!("{topic} does not exist: an agent makes it, if it has the right CREATE; or make it by kafka-topics --create --topic {topic}"),
        );
        return Ok(None);
    };
    let copies = match look.replicas {
        1 => "1 copy".to_owned(),
        count => format!("{count} copies, {} in sync", look.in_sync),
    };
    let said = format!("{topic}: {} partitions, {copies}", look.partitions);
    if look.replicas == 1 && look.brokers > 1 {
        findings.warning(
            "topic",
            format!("{said}: when that broker's disk is lost, so is what sinks have not read; kafka-reassign-partitions gives it more"),
        );
    } else {
        findings.ok("topic", said);
    }
    rights(topic, &look, findings);
    topic_settings(topic, &look, outage, findings);
    let watermarks = match admin.watermarks(topic, DEADLINE).await {
        Ok(watermarks) => watermarks,
        Err(error) => {
            findings.warning("lag", chain(&error));
            return Ok(None);
        }
    };
    if look.rights.is_empty() || look.rights.contains(&"READ") {
        newest(kafka, topic, &watermarks, findings).await;
    }
    Ok(Some(Log {
        topic_id: look.id,
        watermarks,
    }))
}

/// Brokers do not tell their time. What the newest message tells is as good: who wrote it (or the broker, by
/// the topic's `message.timestamp.type`) cannot have done so later than now.
async fn newest(
    kafka: &KafkaSettings,
    topic: &str,
    watermarks: &[Watermark],
    findings: &mut Findings,
) {
    let (settings, name, marks) = (kafka.clone(), topic.to_owned(), watermarks.to_vec());
    let read = tokio::task::spawn_blocking(move || {
        newest_message_ms(&settings, &name, &marks, NEWEST_WITHIN)
    });
    if let Ok(Ok(Some(written_ms))) = read.await {
        age(SystemClock.now_us() / 1_000 - written_ms, findings);
    }
}

/// Says how old the newest message is; one that is younger than now has a wrong clock behind it.
fn age(age_ms: i64, findings: &mut Findings) {
    const CHECK: &str = "newest message";
    let apart = Duration::from_millis(age_ms.unsigned_abs());
    if age_ms < 0 && apart > CLOCKS_APART {
        findings.warning(
            CHECK,
            format!("it was written {} in the future: the clock of who wrote it is ahead, or this host's is behind. Run NTP on both; samples that are more than limits.ahead before the sink's clock are refused", value::duration_text(apart)),
        );
    } else {
        findings.ok(
            CHECK,
            format!("it was written {} ago", value::duration_text(apart)),
        );
    }
}

fn rights(topic: &str, look: &TopicLook, findings: &mut Findings) {
    const CHECK: &str = "rights";
    let missing: Vec<_> = [("WRITE", "agents send"), ("READ", "sinks read")]
        .into_iter()
        .filter(|(right, _)| !look.rights.contains(right))
        .map(|(right, why)| {
            let lower = right.to_lowercase();
            format!("no {right}, by which {why}: kafka-acls --add --allow-principal User:… --operation {lower} --topic {topic}")
        })
        .collect();
    match (look.rights.is_empty(), missing.len()) {
        (true, _) => findings.ok(CHECK, format!("{topic}: the brokers do not tell")),
        (_, 0) => findings.ok(
            CHECK,
            format!("{topic}: READ and WRITE; transactions are not used"),
        ),
        (_, 1) => findings.warning(CHECK, format!("{topic}: {}", missing[0])),
        _ => findings.failed(CHECK, format!("{topic}: {}", missing.join("\n"))),
    }
}

fn topic_settings(topic: &str, look: &TopicLook, outage: Duration, findings: &mut Findings) {
    const CHECK: &str = "topic settings";
    if look.config.is_empty() {
        return findings.ok(
            CHECK,
            format!("{topic}: this user may not see them (DESCRIBE_CONFIGS)"),
        );
    }
    let text = |name: &str| look.config.get(name).map_or("", String::as_str);
    let number = |name: &str| text(name).parse::<i64>().ok();
    let alter = |name: &str, value: &str| {
        format!("kafka-configs --alter --topic {topic} --add-config {name}={value}")
    };
    let before = findings.0.len();
    if text("cleanup.policy").contains("compact") {
        findings.failed(
            CHECK,
            format!("cleanup.policy = {}: compaction keeps one message of an agent and removes the others: {}", text("cleanup.policy"), alter("cleanup.policy", "delete")),
        );
    }
    let insync = number("min.insync.replicas").unwrap_or(1);
    if usize::try_from(insync).is_ok_and(|insync| insync > look.in_sync) {
        findings.failed(
            CHECK,
            format!("min.insync.replicas = {insync}, and {} are in sync: nothing is acknowledged, agents keep their samples; bring brokers back, or {}", look.in_sync, alter("min.insync.replicas", &look.in_sync.to_string())),
        );
    }
    if insync == 1 && look.replicas > 1 {
        findings.warning(
            CHECK,
            format!("min.insync.replicas = 1 of {} copies: a message is acknowledged that is on one disk only, and goes with it; {}", look.replicas, alter("min.insync.replicas", "2")),
        );
    }
    let kept = number("retention.ms")
        .and_then(|ms| u64::try_from(ms).ok())
        .map(Duration::from_millis);
    if let Some(kept) = kept.filter(|kept| *kept < outage) {
        let (kept, outage_text) = (value::duration_text(kept), value::duration_text(outage));
        let wanted = alter("retention.ms", &outage.as_millis().max(WEEK_MS).to_string());
        findings.warning(
            CHECK,
            format!("retention.ms: messages are kept for {kept}, and sinks or their database may be away for {outage_text} (--outage); what they have not read by then is lost: {wanted}"),
        );
    }
    if let Some(bytes) = number("retention.bytes").filter(|bytes| *bytes >= 0) {
        findings.warning(
            CHECK,
            format!("retention.bytes = {bytes} of a partition: in an outage of the database messages go before their time; {}", alter("retention.bytes", "-1")),
        );
    }
    let most = number("max.message.bytes").and_then(|bytes| u64::try_from(bytes).ok());
    if let Some(most) = most.filter(|most| *most < USUAL_MESSAGE_BYTES) {
        findings.warning(
            CHECK,
            format!(
                "max.message.bytes = {most}: batches of many points may be refused; {}",
                alter("max.message.bytes", "1048588")
            ),
        );
    }
    if findings.0.len() == before {
        let kept = kept.map_or_else(|| "for ever".to_owned(), value::duration_text);
        findings.ok(
            CHECK,
            format!("kept for {kept}, which is how long a sink may be away; min.insync.replicas = {insync}, max.message.bytes = {}", text("max.message.bytes")),
        );
    }
}

async fn group(kafka: &KafkaSettings, group: Option<&str>, topic: &str, findings: &mut Findings) {
    const CHECK: &str = "group";
    let Some(group) = group else { return };
    let (settings, name, topic) = (kafka.clone(), group.to_owned(), topic.to_owned());
    let seen = tokio::task::spawn_blocking(move || see_group(&settings, &name, &topic, DEADLINE));
    match seen.await {
        Ok(Ok(())) => findings.ok(CHECK, format!("{group}: this user may see it")),
        Ok(Err(error @ KafkaError::NotAuthorized { .. })) => findings.warning(
            CHECK,
            format!("{}; sinks need it, agents do not", chain(&error)),
        ),
        Ok(Err(error)) => findings.warning(CHECK, chain(&error)),
        Err(error) => findings.warning(CHECK, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(look: &TopicLook, config: &[(&str, &str)]) -> Findings {
        let mut look = look.clone();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        look.config = config.iter().map(owned).collect();
        let mut findings = Findings::default();
        topic_settings("t", &look, Duration::from_secs(3 * 86_400), &mut findings);
        findings
    }

    /// What one broker cannot show.
    #[test]
    fn an_acknowledgement_by_one_of_several_copies_is_warned_of() {
        let look = TopicLook {
            replicas: 3,
            in_sync: 3,
            brokers: 3,
            ..TopicLook::default()
        };
        let alone = settings(&look, &[("min.insync.replicas", "1")]);
        let expected = "min.insync.replicas = 1 of 3 copies: a message is acknowledged that is on one disk only, and goes with it; kafka-configs --alter --topic t --add-config min.insync.replicas=2";
        assert_eq!(alone.0[0].detail, expected);
        let two = settings(&look, &[("min.insync.replicas", "2")]);
        assert_eq!(two.0[0].verdict, super::super::Verdict::Ok, "{two:?}");
    }

    #[test]
    fn a_message_from_the_future_has_a_wrong_clock_behind_it() {
        let said = |age_ms| {
            let mut findings = Findings::default();
            age(age_ms, &mut findings);
            findings.0.remove(0)
        };
        assert_eq!(said(61_000).detail, "it was written 61s ago");
        assert_eq!(said(-1_000).verdict, super::super::Verdict::Ok);
        let ahead = said(-3_600_000);
        assert_eq!(ahead.verdict, super::super::Verdict::Warning);
        assert!(
            ahead.detail.starts_with("it was written 60m in the future"),
            "{}",
            ahead.detail
        );
    }
}
