//! Pages of metrics on their way to the spool: what `prometheus`, `textfile` and `exec` have in
//! common.

use super::decoded::Decoded;
use super::{Intake, Receipt};
use std::collections::BTreeMap;
use tidegauge_model::{Name, Point, Reason, RejectedPoint, Tags, name};
use tidegauge_wire::openmetrics::{self, Dialect};

/// What became of a page.
#[derive(Debug, Default)]
pub(super) struct Read {
    points: usize,
    refused: u64,
    /// What was wrong with the first one that was refused.
    detail: Option<String>,
}

impl Read {
    /// Adds the figures to the point that tells of the page.
    pub(super) fn told(self, point: Point) -> Point {
        let is_told = point.value("detail").is_some();
        point
            .field(name!("points"), self.points as u64)
            .field(name!("refused"), self.refused)
            .field_if(name!("detail"), self.detail.filter(|_| !is_told))
    }

    fn take(&mut self, receipt: Receipt) {
        self.points = receipt.accepted;
        self.refused += receipt.refused.len() as u64;
        if let Some(first) = receipt.refused.into_iter().next() {
            self.detail.get_or_insert(first.detail);
        }
    }
}

/// Reads a page on a thread that may take its time, and hands its points on with these tags.
pub(super) async fn hand_on(
    page: Vec<u8>,
    dialect: Dialect,
    taken_us: i64,
    tags: &Tags,
    intake: &Intake,
) -> Read {
    let read = move || openmetrics::read(&page, dialect, taken_us);
    let page = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    points(
        page.points,
        &page.rejected,
        &page.further_rejected,
        tags,
        intake,
    )
    .await
}

/// Hands on what was read of a message, and counts what could not be.
pub(super) async fn decoded(decoded: Decoded, intake: &Intake) -> Read {
    let mut read = Read {
        refused: decoded.count_rejected(intake),
        detail: decoded.rejected.first().map(|first| first.detail.clone()),
        ..Read::default()
    };
    read.take(intake.hand_on(decoded.points).await);
    read
}

/// Hands points on with these tags, and counts those that could not be read.
async fn points(
    points: Vec<Point>,
    rejected: &[RejectedPoint],
    further_rejected: &BTreeMap<Reason, u64>,
    tags: &Tags,
    intake: &Intake,
) -> Read {
    let mut read = Read::default();
    for rejected in rejected {
        intake.refuse(rejected.reason, 1, &rejected.detail);
        read.detail.get_or_insert_with(|| rejected.detail.clone());
    }
    read.refused = rejected.len() as u64 + further_rejected.values().sum::<u64>();
    for (reason, count) in further_rejected {
        intake.refuse(*reason, *count, "");
    }
    let points = points.into_iter().map(|point| with_tags(point, tags));
    read.take(intake.hand_on(points.collect()).await);
    read
}

/// The point with tags of ours; one of its own with such a name gets another, as Prometheus does.
fn with_tags(point: Point, tags: &Tags) -> Point {
    if tags.is_empty() {
        return point;
    }
    let begin = Point::new(point.measurement().clone(), point.time_us()).of_kind(point.kind());
    let is_ours = |name: &Name| tags.iter().any(|(ours, _)| ours == name);
    let own = point.tags().iter().map(|(name, text)| {
        let renamed = is_ours(name).then(|| Name::new(&format!("exported_{name}")).ok());
        (
            renamed.flatten().unwrap_or_else(|| name.clone()),
            text.clone(),
        )
    });
    let tagged =
        (own.chain(tags.iter().cloned())).fold(begin, |point, (name, text)| point.tag(name, text));
    let fields = point.fields().iter().cloned();
    fields.fold(tagged, |point, (name, value)| point.field(name, value))
}
