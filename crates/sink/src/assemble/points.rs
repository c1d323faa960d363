//! From the points of a decoded batch to packed rows.
//!
//! Two passes over a batch: the first checks limits and types and finds columns and series, the
//! second, after the ledger's verdict, copies values. A point whose fields come in the same order
//! as those of the point of its measurement before it finds its columns by comparing names, with
//! no look-up in a map.

use super::Needs;
use hashbrown::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tidegauge_model::{BatchRef, Limits, PointRef, Reason, ValueRef};
use tidegauge_store::{
    Catalog, Cell, HostKey, Measurement, RowBlock, RowKey, RowOrigin, SeriesId, SeriesNeed,
    SeriesSlot,
};

/// What the first pass found.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Points that can be packed.
    pub(super) accepted: usize,
    /// The span of their times.
    pub(super) times_us: Option<RangeInclusive<i64>>,
    /// Points that cannot, with their place in the message.
    pub(super) rejected: Vec<(u32, Reason, String)>,
}

impl Checked {
    pub(super) fn newest_us(&self) -> Option<i64> {
        self.times_us.as_ref().map(|times| *times.end())
    }

    fn accept(&mut self, time_us: i64) {
        self.accepted += 1;
        self.times_us = Some(match &self.times_us {
            None => time_us..=time_us,
            Some(times) => time_us.min(*times.start())..=time_us.max(*times.end()),
        });
    }
}

/// Where the accepted points of the batch go; their columns lie in `Packer::columns`.
#[derive(Debug)]
struct Place {
    point: u32,
    plan: u32,
    series: SeriesId,
    columns: u32,
}

/// A measurement as this step packs it.
#[derive(Debug)]
struct Plan {
    measurement: Arc<Measurement>,
    block: RowBlock,
    /// Columns of the last point's fields, in their order.
    shape: Vec<u32>,
}

/// Packs rows.
#[derive(Debug, Default)]
pub(super) struct Packer {
    plans: Vec<Plan>,
    plan_of: HashMap<String, u32>,
    /// Blocks of a step that is committed: their memory is used again.
    spare: Vec<RowBlock>,
    places: Vec<Place>,
    columns: Vec<u32>,
    /// The hosts of the batch, and what the identities of their series begin with.
    hosts: Vec<(HostKey, Vec<u8>)>,
    identity: Vec<u8>,
    rows: usize,
    now_us: i64,
}

/// Why a point becomes a dead letter.
struct Rejected(Reason, String);

impl Packer {
    pub(super) fn begin_step(&mut self, now_us: i64) {
        self.plans.clear();
        self.plan_of.clear();
        self.rows = 0;
        self.now_us = now_us;
    }

    /// Rows packed in this step.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn take_blocks(&mut self) -> Vec<RowBlock> {
        self.plan_of.clear();
        let mut blocks: Vec<RowBlock> = self
            .plans
            .drain(..)
            .map(|plan| plan.block)
            .filter(|block| !block.is_empty())
            .collect();
        for block in &mut blocks {
            block.arrange();
        }
        blocks
    }

    /// Takes the blocks of a committed step back.
    pub(super) fn recycle(&mut self, blocks: Vec<RowBlock>) {
        self.spare = blocks;
    }

    /// An empty block, with the memory of an earlier one of the same measurement if there is one.
    fn block(&mut self, measurement: &Arc<Measurement>) -> RowBlock {
        let same = |block: &RowBlock| block.measurement().id == measurement.id;
        match self.spare.iter().position(same) {
            Some(at) => self.spare.swap_remove(at).recycle(measurement.clone()),
            None => RowBlock::new(measurement.clone()),
        }
    }

    /// Begins a batch: its hosts and their labels must be what the database has.
    pub(super) fn begin_batch(
        &mut self,
        catalog: &Catalog,
        batch: &BatchRef<'_>,
        needs: &mut Needs,
    ) -> bool {
        self.hosts.clear();
        let agent = batch.origin.as_ref().map(|origin| origin.agent.as_str());
        let mut all_are_known = true;
        for name in batch.hosts() {
            let host = HostKey {
                agent: agent.unwrap_or_default().to_owned(),
                name: name.to_owned(),
            };
            let identity = host.identity();
            all_are_known &= knows_host(catalog, &identity, &host, batch, needs);
            let mut begin = identity.into_bytes();
            // U+0000 is in no name and no text, so it parts them without doubt.
            begin.push(0);
            self.hosts.push((host, begin));
        }
        all_are_known
    }

    /// Checks all points of the batch and notes what the store must make first.
    pub(super) fn check_points(
        &mut self,
        catalog: &mut Catalog,
        batch: &BatchRef<'_>,
        needs: &mut Needs,
    ) -> Checked {
        self.places.clear();
        self.columns.clear();
        let mut checked = Checked::default();
        let keyed = batch.origin.is_none();
        let mut current = None;
        for (at, point) in batch.points().enumerate() {
            if current != Some(point.host) {
                current = Some(point.host);
                self.identity.clear();
                self.identity
                    .extend_from_slice(&self.hosts[point.host as usize].1);
            }
            match self.place(catalog, &point, keyed, needs) {
                Ok(Some((plan, series, columns))) => {
                    checked.accept(point.time_us);
                    self.places.push(Place {
                        point: at as u32,
                        plan,
                        series,
                        columns,
                    });
                }
                Ok(None) => {}
                Err(Rejected(reason, detail)) => {
                    checked.rejected.push((point.index, reason, detail));
                }
            }
        }
        checked
    }

    /// Copies the values of the points that were accepted; returns their number.
    pub(super) fn pack(&mut self, batch: &BatchRef<'_>, slot: u32, offset: i64) -> u64 {
        let mut values = 0;
        let mut points = batch.points().enumerate();
        for place in &self.places {
            let Some((_, point)) = points.find(|(at, _)| *at == place.point as usize) else {
                break;
            };
            let block = &mut self.plans[place.plan as usize].block;
            let key = RowKey {
                series: place.series,
                time_us: point.time_us,
            };
            let row = block.push(
                key,
                RowOrigin {
                    slot,
                    offset,
                    index: point.index,
                },
            );
            let columns = &self.columns[place.columns as usize..][..point.fields.len()];
            for (&column, (_, value)) in columns.iter().zip(point.fields) {
                match value {
                    ValueRef::Float(number) => {
                        block.set(row, column as usize, Cell::float(*number))
                    }
                    ValueRef::Bool(truth) => block.set(row, column as usize, Cell::bool(*truth)),
                    ValueRef::Text(text) => block.set_text(row, column as usize, text),
                }
            }
            values += point.fields.len() as u64;
        }
        self.rows += self.places.len();
        values
    }

    /// Where a point goes, or `None` when the store must be asked first. All that is to be asked
    /// for a point is asked in one round: its measurement, its fields and its series.
    fn place(
        &mut self,
        catalog: &mut Catalog,
        point: &PointRef<'_, '_>,
        keyed: bool,
        needs: &mut Needs,
    ) -> Result<Option<(u32, SeriesId, u32)>, Rejected> {
        check_limits(&catalog.limits, self.now_us, point)?;
        let plan = self.plan(catalog, point, keyed, needs)?;
        let columns = match plan {
            Some(plan) => self.find_columns(plan, point, needs)?,
            None => None,
        };
        let series = self.series(catalog, point, needs)?;
        Ok(plan
            .zip(series)
            .zip(columns)
            .map(|((plan, series), columns)| (plan, series, columns)))
    }

    fn plan(
        &mut self,
        catalog: &Catalog,
        point: &PointRef<'_, '_>,
        keyed: bool,
        needs: &mut Needs,
    ) -> Result<Option<u32>, Rejected> {
        let known = match catalog.measurement(point.measurement) {
            Some(Ok(known)) => known,
            Some(Err(reason)) => {
                let detail = format!("measurement {}", point.measurement);
                return Err(Rejected(*reason, detail));
            }
            None => {
                let need = needs
                    .requirements
                    .measurements
                    .entry(point.measurement.to_owned())
                    .or_default();
                need.keyed |= keyed;
                for (name, value) in point.fields {
                    need.fields
                        .entry(name.clone().into_owned())
                        .or_insert_with(|| value.value_type());
                }
                need.tags
                    .extend(point.tags.iter().map(|(name, _)| name.clone().into_owned()));
                return Ok(None);
            }
        };
        let mut ask = false;
        if keyed && !known.keyed {
            needs
                .requirements
                .measurements
                .entry(known.name.clone())
                .or_default()
                .keyed = true;
            ask = true;
        }
        for (name, _) in point.tags {
            if !known.tags.iter().any(|tag| tag == name.as_ref()) {
                let need = needs
                    .requirements
                    .measurements
                    .entry(known.name.clone())
                    .or_default();
                need.tags.insert(name.clone().into_owned());
                ask = true;
            }
        }
        if let Some(&plan) = self.plan_of.get(point.measurement) {
            return Ok((!ask).then_some(plan));
        }
        let plan = self.plans.len() as u32;
        let block = self.block(known);
        self.plans.push(Plan {
            measurement: known.clone(),
            block,
            shape: Vec::new(),
        });
        self.plan_of.insert(point.measurement.to_owned(), plan);
        Ok((!ask).then_some(plan))
    }

    /// Finds the columns of the point's fields; they are appended to `columns`.
    fn find_columns(
        &mut self,
        plan: u32,
        point: &PointRef<'_, '_>,
        needs: &mut Needs,
    ) -> Result<Option<u32>, Rejected> {
        let begin = self.columns.len();
        let Plan {
            measurement, shape, ..
        } = &mut self.plans[plan as usize];
        let mut ask = false;
        for (at, (name, value)) in point.fields.iter().enumerate() {
            let guess = shape
                .get(at)
                .copied()
                .filter(|&column| measurement.fields[column as usize].name == name.as_ref());
            let found = guess.or_else(|| measurement.column(name).map(|column| column as u32));
            let Some(column) = found else {
                if let Some(reason) = measurement.refused.get(name.as_ref()) {
                    self.columns.truncate(begin);
                    return Err(Rejected(*reason, format!("field {name}")));
                }
                let need = needs
                    .requirements
                    .measurements
                    .entry(measurement.name.clone())
                    .or_default();
                need.fields
                    .entry(name.clone().into_owned())
                    .or_insert_with(|| value.value_type());
                ask = true;
                continue;
            };
            let kept = measurement.fields[column as usize].value_type;
            if kept != value.value_type() {
                self.columns.truncate(begin);
                let detail = format!(
                    "field {name} is {kept}, this value is {}",
                    value.value_type()
                );
                return Err(Rejected(Reason::TypeConflict, detail));
            }
            self.columns.push(column);
        }
        if ask {
            self.columns.truncate(begin);
            return Ok(None);
        }
        shape.clear();
        shape.extend_from_slice(&self.columns[begin..]);
        Ok(Some(begin as u32))
    }

    /// Finds the series by its raw identity: host, measurement and tags as they came.
    fn series(
        &mut self,
        catalog: &mut Catalog,
        point: &PointRef<'_, '_>,
        needs: &mut Needs,
    ) -> Result<Option<SeriesId>, Rejected> {
        let host_bytes = self.identity.len();
        self.identity
            .extend_from_slice(point.measurement.as_bytes());
        for (name, text) in point.tags {
            self.identity.push(0);
            self.identity.extend_from_slice(name.as_bytes());
            self.identity.push(0);
            self.identity.extend_from_slice(text.as_bytes());
        }
        let host = &self.hosts[point.host as usize].0;
        let found = match catalog.series(&self.identity) {
            Some(SeriesSlot::Known(series)) => Ok(Some(series)),
            Some(SeriesSlot::Refused(reason)) => {
                Err(Rejected(reason, format!("a series of host {}", host.name)))
            }
            None => {
                let mut tags: Vec<(String, String)> = point
                    .tags
                    .iter()
                    .map(|(name, text)| (name.clone().into_owned(), text.clone().into_owned()))
                    .collect();
                tags.sort();
                let need = SeriesNeed {
                    host: host.clone(),
                    measurement: point.measurement.to_owned(),
                    tags,
                };
                let raw = self.identity.clone().into_boxed_slice();
                let asked = needs.requirements.series.entry(need).or_default();
                if !asked.contains(&raw) {
                    asked.push(raw);
                }
                Ok(None)
            }
        };
        self.identity.truncate(host_bytes);
        found
    }
}

/// Whether the database has this host as the batch has it; if not, it is asked for.
fn knows_host(
    catalog: &Catalog,
    identity: &str,
    host: &HostKey,
    batch: &BatchRef<'_>,
    needs: &mut Needs,
) -> bool {
    let known = catalog.host(identity).is_some_and(|known| {
        known.name == host.name
            && known.labels.len() == batch.labels.len()
            && batch.labels.iter().all(|(name, text)| {
                known
                    .labels
                    .iter()
                    .any(|(k, t)| k == name.as_ref() && t == text.as_ref())
            })
    });
    if !known {
        let mut labels: Vec<(String, String)> = batch
            .labels
            .iter()
            .map(|(name, text)| (name.clone().into_owned(), text.clone().into_owned()))
            .collect();
        labels.sort();
        needs.requirements.hosts.insert(host.clone(), labels);
    }
    known
}

fn check_limits(limits: &Limits, now_us: i64, point: &PointRef<'_, '_>) -> Result<(), Rejected> {
    let reject = |reason, detail: String| Err(Rejected(reason, detail));
    let age_us = now_us.saturating_sub(point.time_us);
    let (oldest, ahead) = (
        seconds_us(limits.oldest_seconds),
        seconds_us(limits.ahead_seconds),
    );
    if age_us > oldest {
        let detail = format!(
            "{} s old, the limit is {} s",
            age_us / 1_000_000,
            limits.oldest_seconds
        );
        return reject(Reason::TooOld, detail);
    }
    if age_us.saturating_neg() > ahead {
        let detail = format!(
            "{} s ahead of this machine's clock, the limit is {} s",
            age_us.saturating_neg() / 1_000_000,
            limits.ahead_seconds
        );
        return reject(Reason::TooFarAhead, detail);
    }
    if point.tags.len() > limits.tags_per_point {
        let detail = format!(
            "{} tags, the limit is {}",
            point.tags.len(),
            limits.tags_per_point
        );
        return reject(Reason::TooManyTags, detail);
    }
    if let Some((name, text)) = point
        .tags
        .iter()
        .find(|(_, text)| text.len() > limits.tag_bytes)
    {
        let detail = format!(
            "tag {name} has {} bytes, the limit is {}",
            text.len(),
            limits.tag_bytes
        );
        return reject(Reason::TagTooLong, detail);
    }
    for (name, value) in point.fields {
        if let ValueRef::Text(text) = value
            && text.len() > limits.text_bytes
        {
            let detail = format!(
                "field {name} has {} bytes, the limit is {}",
                text.len(),
                limits.text_bytes
            );
            return reject(Reason::TextTooLong, detail);
        }
    }
    Ok(())
}

fn seconds_us(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}
