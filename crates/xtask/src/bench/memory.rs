//! `bench memory` (D11): the peak memory of `tidegauge sink --until-end` with topics that are hard
//! on it, into PostgreSQL. A backlog of usual messages is what `bench sink` measures.

use super::fleet::{Numbers, Shape};
use super::load::{LARGEST_MESSAGE, Loader, Sent};
use super::run_sink::{self, Source};
use super::target::{Kind, Target};
use crate::interrupt;
use anyhow::{Context, ensure};
use serde::Serialize;
use std::path::Path;
use tidegauge_model::{Clock, SystemClock};
use tidegauge_testkit::{random_hex, random_topic};

/// What Kafka and the envelope add to a payload.
const OVERHEAD: usize = 4_096;
const SMALL_MESSAGES: u64 = 500_000;
const SMALL_BYTES: usize = 100;
const LARGE_MESSAGES: u64 = 64;

/// A kind of topic.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// Many small messages, none of which can be read.
    Garbage,
    /// Messages of the largest size, none of which can be read.
    LargeGarbage,
    /// Messages of nearly the largest size, full of points.
    Large,
}

/// What was measured of one topic.
#[derive(Debug, Serialize)]
struct Row {
    load: &'static str,
    messages: u64,
    message_bytes: u64,
    rows: u64,
    dead_letters: u64,
    seconds: f64,
    peak_rss_bytes: u64,
}

impl Load {
    const ALL: [Self; 3] = [Self::Garbage, Self::LargeGarbage, Self::Large];

    const fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::LargeGarbage => "large garbage",
            Self::Large => "large messages",
        }
    }

    fn fill(self, brokers: &str, topic: &str) -> anyhow::Result<Sent> {
        let encoding = tidegauge_wire::by_name("json").and_then(|encoding| encoding.encoder());
        let encoding = encoding.context("agents send JSON")?;
        let mut loader = Loader::new(brokers, topic, 1, encoding)?;
        let mut numbers = Numbers::default();
        match self {
            Self::Garbage => {
                for number in 0..SMALL_MESSAGES {
                    loader.send_bytes(0, &noise(SMALL_BYTES, number))?;
                }
            }
            Self::LargeGarbage => {
                for number in 0..LARGE_MESSAGES {
                    loader.send_bytes(0, &noise(LARGEST_MESSAGE - OVERHEAD, number))?;
                }
            }
            Self::Large => {
                let now_us = SystemClock.now_us();
                for sequence in 0..LARGE_MESSAGES {
                    let batch = |time_us, numbers: &mut Numbers| {
                        Shape::Narrow.batch(0, sequence, time_us, numbers)
                    };
                    let mut large = batch(now_us, &mut numbers)?;
                    let mut one = Vec::new();
                    encoding.encode(&large, &mut one);
                    // A little less, for numbers have texts of different lengths.
                    let times = (LARGEST_MESSAGE * 4 / 5 / one.len()) as i64;
                    for back in 1..times {
                        let time_us = now_us - (i64::try_from(sequence)? * times + back);
                        large.points.extend(batch(time_us, &mut numbers)?.points);
                    }
                    loader.send(0, &large)?;
                }
            }
        }
        loader.finish()
    }
}

/// Bytes that hardly shrink by compression and are no message.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = || {
        // Xorshift (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let words = std::iter::repeat_with(next);
    words.flatten().take(length).collect()
}

pub(super) fn memory(program: &Path, json: bool) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let (folder, servers) = super::servers(&[Kind::Postgres])?;
    let brokers = &servers.environment()["TEST_KAFKA"];
    let mut rows = Vec::new();
    for load in Load::ALL {
        interrupt::check()?;
        eprintln!("=== {}", load.name());
        let topic = random_topic("bench-memory");
        let sent = load.fill(brokers, &topic)?;
        let target = Target::create(Kind::Postgres, &servers, folder.path())?;
        let group = format!("bench-{}", random_hex(8));
        let source = Source {
            program,
            brokers,
            topic: &topic,
            group: &group,
        };
        let ran = run_sink::to_the_end(source, &target, None)?;
        ensure!(
            ran.rows == sent.points,
            "{} of {} points",
            ran.rows,
            sent.points
        );
        let dead_letters = target.number("select sum(dead_letters) from position")?;
        let unread = if sent.points == 0 { sent.messages } else { 0 };
        ensure!(
            dead_letters == unread,
            "{dead_letters} of {unread} dead letters"
        );
        rows.push(Row {
            load: load.name(),
            messages: sent.messages,
            message_bytes: sent.bytes,
            rows: ran.rows,
            dead_letters,
            seconds: ran.seconds,
            peak_rss_bytes: ran.peak_rss_bytes,
        });
    }
    if json {
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(true);
    }
    println!(
        "{:<16} {:>9} {:>9} {:>12} {:>12} {:>8} {:>9}",
        "load", "messages", "MB", "rows", "dead letters", "time", "peak RSS"
    );
    for row in &rows {
        println!(
            "{:<16} {:>9} {:>9.0} {:>12} {:>12} {:>6.1} s {:>6.1} MB",
            row.load,
            row.messages,
            row.message_bytes as f64 / 1e6,
            row.rows,
            row.dead_letters,
            row.seconds,
            row.peak_rss_bytes as f64 / 1e6
        );
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_never_the_same_and_of_the_length_that_is_wanted() {
        assert_eq!(noise(100, 0).len(), 100);
        assert_ne!(noise(100, 0), noise(100, 1));
    }
}
