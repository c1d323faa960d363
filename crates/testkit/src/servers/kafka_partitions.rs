//! One CreatePartitions request by hand: more partitions for a topic, as an operator adds them.
//!
//! Not a client: it speaks version 1 of one request, to the only broker of its cluster.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::kafka_metadata::{exchange, integer, take, text};

/// Makes the topic have `partitions` partitions in all.
pub(super) fn create_partitions(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    deadline: Duration,
) -> anyhow::Result<()> {
    let answer = exchange(bootstrap, &request(topic, partitions, deadline)?, deadline)?;
    check(&answer).with_context(|| format!("add partitions to {topic}"))
}

fn request(topic: &str, partitions: i32, deadline: Duration) -> anyhow::Result<Vec<u8>> {
    let name_length = i16::try_from(topic.len()).context("the topic's name is too long")?;
    let milliseconds = i32::try_from(deadline.as_millis()).unwrap_or(i32::MAX);
    let mut body = Vec::new();
    body.extend(37_i16.to_be_bytes()); // CreatePartitions
    body.extend(1_i16.to_be_bytes()); // version 1
    body.extend(1_i32.to_be_bytes()); // correlation id
    body.extend((-1_i16).to_be_bytes()); // no client id
    body.extend(1_i32.to_be_bytes()); // one topic
    body.extend(name_length.to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(partitions.to_be_bytes());
    body.extend((-1_i32).to_be_bytes()); // the broker assigns them
    body.extend(milliseconds.to_be_bytes());
    body.push(0); // do it
    Ok(body)
}

fn check(answer: &[u8]) -> anyhow::Result<()> {
    let mut rest = answer;
    integer(&mut rest)?; // correlation id
    integer(&mut rest)?; // throttle time
    ensure!(integer(&mut rest)? == 1, "an answer for another topic");
    text(&mut rest)?; // the topic
    let code = i16::from_be_bytes(take(&mut rest)?);
    let message = text(&mut rest)?.unwrap_or_default();
    ensure!(code == 0, "the broker refused, error {code}: {message}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_with_its_text() {
        let answer = |code: u8, message: &[u8]| {
            let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, code];
            answer.extend(message);
            answer
        };
        check(&answer(0, &[0xff, 0xff])).unwrap();
        let refused = check(&answer(37, &[0, 2, b'n', b'o'])).unwrap_err();
        assert_eq!(refused.to_string(), "the broker refused, error 37: no");
        assert!(check(&[0, 0]).is_err());
    }
}
