//! One CreateAcls request by hand: lets a user do something, as an operator does.
//!
//! Not a client: it speaks version 1 of one request, as somebody who may do all.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::kafka_metadata::{exchange, integer, take, text};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a right is about.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// The topic of this name.
    Topic(&'a str),
    /// The consumer group of this name.
    Group(&'a str),
}

/// What may be done with it, by Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read messages, or be of the group.
    Read = 3,
    /// Send messages.
    Write = 4,
    /// Make the topic.
    Create = 5,
    /// See that it is there.
    Describe = 8,
}

/// Lets `user` do this, at the broker whose plaintext listener this is.
///
/// # Errors
/// When the broker does not answer or refuses.
pub fn allow(
    bootstrap: &str,
    user: &str,
    operation: Operation,
    resource: Resource<'_>,
) -> anyhow::Result<()> {
    let request = request(user, operation, resource)?;
    let answer = exchange(bootstrap, &request, ANSWER_WITHIN)?;
    check(&answer).with_context(|| format!("let {user} {operation:?} {resource:?}"))
}

fn request(user: &str, operation: Operation, resource: Resource<'_>) -> anyhow::Result<Vec<u8>> {
    let (kind, name) = match resource {
        Resource::Topic(name) => (2, name),
        Resource::Group(name) => (3, name),
    };
    let mut body = Vec::new();
    body.extend(30_i16.to_be_bytes()); // CreateAcls
    body.extend(1_i16.to_be_bytes()); // version 1
    body.extend(1_i32.to_be_bytes()); // correlation id
    body.extend((-1_i16).to_be_bytes()); // no client id
    body.extend(1_i32.to_be_bytes()); // one rule
    let string = |text: &str| -> anyhow::Result<Vec<u8>> {
        let length = i16::try_from(text.len()).context("a name is too long")?;
        Ok([&length.to_be_bytes(), text.as_bytes()].concat())
    };
    let (name, user, host) = (
        string(name)?,
        string(&format!("User:{user}"))?,
        string("*")?,
    );
    body.push(kind);
    body.extend(name);
    body.push(3); // of exactly this name
    body.extend(user);
    body.extend(host);
    body.push(operation as u8);
    body.push(3); // allow
    Ok(body)
}

fn check(answer: &[u8]) -> anyhow::Result<()> {
    let mut rest = answer;
    integer(&mut rest)?; // correlation id
    integer(&mut rest)?; // throttle time
    ensure!(integer(&mut rest)? == 1, "an answer to another request");
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
            let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, code];
            answer.extend(message);
            answer
        };
        check(&answer(0, &[0xff, 0xff])).unwrap();
        let refused = check(&answer(31, &[0, 2, b'n', b'o'])).unwrap_err();
        assert_eq!(refused.to_string(), "the broker refused, error 31: no");
        assert!(check(&[0, 0]).is_err());
    }
}
