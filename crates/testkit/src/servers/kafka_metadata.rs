//! One Metadata request by hand: is a broker ready, and which cluster is it?
//!
//! Not a client: it speaks version 4 of one request on a plaintext listener.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, ensure};

/// What the broker said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaMetadata {
    /// The cluster's id, as it was formatted.
    pub cluster_id: Option<String>,
    /// `host:port` of each broker, as it wants to be reached.
    pub brokers: Vec<String>,
}

/// Asks the broker at `bootstrap` (`host:port`) for its brokers and no topic.
///
/// # Errors
/// When there is no answer within `deadline`, or none that can be read.
pub fn kafka_metadata(bootstrap: &str, deadline: Duration) -> anyhow::Result<KafkaMetadata> {
    parse(&exchange(bootstrap, &request(), deadline)?)
}

/// Sends one request, without its length, and reads the answer to it, without its length.
pub(super) fn exchange(
    bootstrap: &str,
    request: &[u8],
    deadline: Duration,
) -> anyhow::Result<Vec<u8>> {
    let address = bootstrap
        .to_socket_addrs()
        .with_context(|| format!("resolve {bootstrap}"))?
        .next()
        .with_context(|| format!("{bootstrap} has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, deadline)
        .with_context(|| format!("connect to {bootstrap}"))?;
    stream.set_read_timeout(Some(deadline))?;
    let length = i32::try_from(request.len()).context("a request that is too long")?;
    let framed = [&length.to_be_bytes(), request].concat();
    stream.write_all(&framed).context("send a request")?;
    let mut length = [0_u8; 4];
    stream.read_exact(&mut length).context("read the answer")?;
    let length = usize::try_from(i32::from_be_bytes(length)).context("a negative length")?;
    ensure!(length < 1_000_000, "an answer of {length} bytes");
    let mut answer = vec![0_u8; length];
    stream.read_exact(&mut answer).context("read the answer")?;
    Ok(answer)
}

fn request() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(3_i16.to_be_bytes()); // Metadata
    body.extend(4_i16.to_be_bytes()); // version 4
    body.extend(1_i32.to_be_bytes()); // correlation id
    body.extend((-1_i16).to_be_bytes()); // no client id
    body.extend(0_i32.to_be_bytes()); // no topics
    body.push(0); // do not create any
    body
}

fn parse(answer: &[u8]) -> anyhow::Result<KafkaMetadata> {
    let mut rest = answer;
    integer(&mut rest)?; // correlation id
    integer(&mut rest)?; // throttle time
    let mut brokers = Vec::new();
    for _ in 0..integer(&mut rest)? {
        integer(&mut rest)?; // node id
        let host = text(&mut rest)?.context("a broker without a host")?;
        let port = integer(&mut rest)?;
        text(&mut rest)?; // rack
        brokers.push(format!("{host}:{port}"));
    }
    let cluster_id = text(&mut rest)?;
    Ok(KafkaMetadata {
        cluster_id,
        brokers,
    })
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> anyhow::Result<[u8; N]> {
    let (head, tail) = rest
        .split_first_chunk()
        .context("the answer is too short")?;
    *rest = tail;
    Ok(*head)
}

pub(super) fn integer(rest: &mut &[u8]) -> anyhow::Result<i32> {
    Ok(i32::from_be_bytes(take(rest)?))
}

pub(super) fn text(rest: &mut &[u8]) -> anyhow::Result<Option<String>> {
    let Ok(length) = usize::try_from(i16::from_be_bytes(take(rest)?)) else {
        return Ok(None);
    };
    let (head, tail) = rest
        .split_at_checked(length)
        .context("the answer is too short")?;
    *rest = tail;
    Ok(Some(String::from_utf8(head.to_vec())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_one_broker_is_read() {
        let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        answer.extend([0, 2, b'm', b'e', 0, 0, 0x23, 0x84, 0xff, 0xff, 0, 3]);
        answer.extend(b"abc");
        let expected = KafkaMetadata {
            cluster_id: Some("abc".to_owned()),
            brokers: vec!["me:9092".to_owned()],
        };
        assert_eq!(parse(&answer).unwrap(), expected);
        for length in 0..answer.len() {
            assert!(parse(&answer[..length]).is_err(), "{length} bytes");
        }
    }
}
