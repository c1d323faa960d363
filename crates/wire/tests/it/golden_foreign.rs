//! Golden files of the encodings that are only read: `golden/<name>/v1/<case>.<ending>` is a message
//! as another program sends it, `<case>.txt` what it means. `UPDATE_GOLDEN=1` rewrites the texts; the
//! names and hosts in them are those of tables that exist, so they must never change.

use crate::golden::{compare_in, meaning};
use std::fs;
use std::path::{Path, PathBuf};
use tidegauge_model::{BatchRef, Reason};
use tidegauge_wire::Encoding;
use tidegauge_wire::influx::Influx;
use tidegauge_wire::otlp::Otlp;
use tidegauge_wire::prometheus_remote_write::PrometheusRemoteWrite;
use tidegauge_wire::telegraf_json::TelegrafJson;

/// What comes of a message: a reason, or the reasons of the points that are not stored.
type Outcome = Result<&'static [Reason], Reason>;

const CASES: &[(&dyn Encoding, &str, &str, Outcome)] = &[
    (&Influx, "lp", "telegraf", Ok(&[])),
    (&Influx, "lp", "names", Ok(&[])),
    (&Influx, "lp", "escapes", Ok(&[])),
    (
        &Influx,
        "lp",
        "bad_lines",
        Ok(&[
            Reason::MissingKey,
            Reason::WrongType,
            Reason::Syntax,
            Reason::BadTime,
            Reason::DuplicateKey,
            Reason::NoFields,
            Reason::BadName,
            Reason::BadText,
            Reason::BadHost,
        ]),
    ),
    (&Influx, "lp", "other_format", Err(Reason::Syntax)),
    (&Influx, "lp", "empty", Err(Reason::Empty)),
    (&TelegrafJson, "json", "one", Ok(&[])),
    (&TelegrafJson, "json", "batch", Ok(&[])),
    (
        &TelegrafJson,
        "json",
        "bad_metrics",
        Ok(&[
            Reason::WrongType,
            Reason::BadTime,
            Reason::MissingKey,
            Reason::UnknownKey,
            Reason::WrongType,
            Reason::WrongType,
            Reason::WrongType,
            Reason::MissingKey,
            Reason::NoFields,
            Reason::DuplicateKey,
            Reason::BadName,
            Reason::BadText,
        ]),
    ),
    (&TelegrafJson, "json", "list", Err(Reason::NotAnObject)),
    (&TelegrafJson, "json", "not_json", Err(Reason::Syntax)),
    (&TelegrafJson, "json", "empty", Err(Reason::Empty)),
    (&PrometheusRemoteWrite, "bin", "prometheus", Ok(&[])),
    (
        &PrometheusRemoteWrite,
        "bin",
        "bad_samples",
        Ok(&[
            Reason::MissingKey,
            Reason::MissingKey,
            Reason::BadTime,
            Reason::WrongType,
            Reason::DuplicateKey,
        ]),
    ),
    (
        &PrometheusRemoteWrite,
        "bin",
        "not_snappy",
        Err(Reason::Syntax),
    ),
    (&PrometheusRemoteWrite, "bin", "empty", Err(Reason::Empty)),
    (&Otlp, "json", "metrics", Ok(&[])),
    (&Otlp, "bin", "metrics", Ok(&[])),
    (&Otlp, "json", "not_json", Err(Reason::Syntax)),
    (&Otlp, "bin", "empty", Err(Reason::Empty)),
];

fn folder(encoding: &dyn Encoding) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    golden.join(format!("{}/v{}", encoding.name(), encoding.version()))
}

#[test]
fn messages_mean_what_they_did() {
    for (encoding, ending, case, outcome) in CASES {
        let folder = folder(*encoding);
        let path = folder.join(format!("{case}.{ending}"));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut batch = BatchRef::default();
        match (encoding.decode(&bytes, &mut batch), outcome) {
            (Ok(()), Ok(reasons)) => {
                let rejected: Vec<_> = batch.rejected.iter().map(|point| point.reason).collect();
                assert_eq!(&rejected, reasons, "{case}: {:#?}", batch.rejected);
                compare_in(&folder, case, &meaning(&batch));
            }
            (Err(error), Err(reason)) => {
                assert_eq!(error.reason, *reason, "{case}: {error}");
                compare_in(&folder, case, &format!("{error}\n"));
            }
            (decoded, _) => panic!("{case}: {decoded:?}"),
        }
    }
}

#[test]
fn every_file_has_its_row() {
    for encoding in [&Influx as &dyn Encoding, &TelegrafJson] {
        for entry in fs::read_dir(folder(encoding)).expect("the golden folder is there") {
            let path = entry.expect("readable").path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let mut cases = CASES.iter().filter(|row| row.0.name() == encoding.name());
            assert!(cases.any(|row| Some(row.2) == stem), "{}", path.display());
        }
    }
}
