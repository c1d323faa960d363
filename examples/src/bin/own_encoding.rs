//! An encoding that Tidegauge does not have: tables of values that are parted by semicolons, written
//! by an agent and read by a sink.
//!
//! `own_encoding FOLDER STORE` measures the load a few times. What is in a message:
//!
//! ```text
//! CSV;agent;epoch;sequence;host
//! measurement;time_us;field=number;field=number
//! ```

use anyhow::Context;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::collectors::COLLECTORS;
use tidegauge_agent::{AgentStatus, CollectSettings, HostRoots, collect, identity};
use tidegauge_examples::{open_spool, store_spool};
use tidegauge_model::{
    AgentId, Batch, BatchRef, Host, Name, Origin, Reason, SystemClock, Value, ValueRef,
};
use tidegauge_sink::SinkSettings;
use tidegauge_wire::{DecodeContext, DecodeError, Encoder, Encoding, Place};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The encoding `csv/1`. Tags and texts are left out, to keep it short.
#[derive(Debug)]
struct Csv;

/// A message that cannot be read is a dead letter with one of the reasons that there are.
fn refused(reason: Reason, line: usize, detail: impl Into<String>) -> DecodeError {
    let at = Place {
        line,
        ..Place::default()
    };
    DecodeError::new(reason, at, detail)
}

fn origin(agent: &str, epoch: &str, sequence: &str) -> Option<Origin> {
    Some(Origin {
        agent: AgentId::new(agent).ok()?,
        epoch: epoch.parse().ok()?,
        sequence: sequence.parse().ok()?,
    })
}

/// Hands over the fields of a point; its measurement and time, if all of it is right.
fn read_point<'a>(line: &'a str, into: &mut BatchRef<'a>) -> Option<(&'a str, i64)> {
    let mut cells = line.split(';');
    let (measurement, time_us) = (cells.next()?, cells.next()?.parse().ok()?);
    Name::check(measurement).ok()?;
    for cell in cells {
        let (field, number) = cell.split_once('=')?;
        Name::check(field).ok()?;
        into.push_field(field.into(), ValueRef::Float(number.parse().ok()?));
    }
    Some((measurement, time_us))
}

impl Encoding for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn version(&self) -> u32 {
        1
    }

    fn decode_in<'a>(
        &self,
        bytes: &'a [u8],
        _: DecodeContext<'a>,
        into: &mut BatchRef<'a>,
    ) -> Result<(), DecodeError> {
        *into = std::mem::take(into).recycle();
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|error| refused(Reason::Syntax, 0, error.to_string()))?;
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap_or_default().split(';').collect();
        let &["CSV", agent, epoch, sequence, host] = head.as_slice() else {
            return Err(refused(Reason::Syntax, 1, "expected CSV and four texts"));
        };
        Host::check(host).map_err(|error| refused(Reason::BadHost, 1, error.to_string()))?;
        into.host = host.into();
        into.origin = origin(agent, epoch, sequence);
        for (index, line) in (0..).zip(lines) {
            // A point that is wrong is refused alone; its neighbours are kept.
            match read_point(line, into) {
                Some((measurement, time_us)) => {
                    into.finish_point(index, measurement.into(), time_us);
                }
                None => into.reject_point(index, Reason::Syntax, format!("in {line:?}")),
            }
        }
        Ok(())
    }

    fn encoder(&self) -> Option<&dyn Encoder> {
        Some(self)
    }
}

impl Encoder for Csv {
    fn begins_with(&self) -> &'static [u8] {
        b"CSV;"
    }

    fn encode(&self, batch: &Batch, into: &mut Vec<u8>) {
        let mut text = String::from("CSV");
        if let Some(origin) = &batch.origin {
            let (agent, epoch, sequence) = (origin.agent.as_str(), origin.epoch, origin.sequence);
            write!(text, ";{agent};{epoch};{sequence}").expect("into memory");
        }
        writeln!(text, ";{}", batch.host).expect("into memory");
        for point in &batch.points {
            write!(text, "{};{}", point.measurement(), point.time_us()).expect("into memory");
            for (field, value) in point.fields() {
                if let Value::Float(number) = value {
                    write!(text, ";{field}={number}").expect("into memory");
                }
            }
            text.push('\n');
        }
        into.extend_from_slice(text.as_bytes());
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the number is the program's answer")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().context("say a folder")?);
    let url = arguments
        .next()
        .context("say where to store: sqlite:path")?;
    let spool = open_spool(&folder)?;
    let roots = HostRoots::default();
    let (agent, _) = identity::agent_id(None, &roots, &folder)?;
    let host = identity::host_name(None, &roots)?;
    let settings = CollectSettings {
        collectors: COLLECTORS
            .iter()
            .filter(|entry| entry.name == "load")
            .collect(),
        interval: Duration::from_millis(250),
        first_at_once: true,
        cycles: Some(3),
        encoding: &Csv,
        ..CollectSettings::new(agent, host, roots)
    };
    collect::run(
        settings,
        spool.clone(),
        Arc::new(SystemClock),
        Arc::new(Notify::new()),
        AgentStatus::new(),
        CancellationToken::new(),
    )
    .await?;
    // `encoding` is for messages that do not name theirs, which are those of a spool; `own_encodings`
    // for those that do, by the header of Kafka.
    let settings = SinkSettings {
        encoding: &Csv,
        own_encodings: vec![&Csv],
        ..SinkSettings::default()
    };
    println!("{} rows", store_spool(spool, &url, settings).await?);
    Ok(())
}
