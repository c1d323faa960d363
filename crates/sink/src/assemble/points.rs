//! From the points of a decoded batch to packed rows.
//!
//! Two passes over a batch: the first checks limits and types and finds columns and series, the
//! second, after the ledger's verdict, copies values. Where the values of a shape go (block and
//! columns) is found once per step; a point of a known shape costs a look-up of its series, a
//! comparison of types and the copying.

use super::Needs;
use super::limits::{Rejected, check_limits, check_types};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use tidegauge_model::{BatchRef, MOST_REJECTED, PointRef, Reason, ValueRef, ValueType};
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
    /// Points that cannot, with their place in the message; the first of them.
    pub(super) rejected: Vec<(u32, Reason, String)>,
    /// Further ones than [`MOST_REJECTED`], by their reason.
    pub(super) further_rejected: BTreeMap<Reason, u64>,
}

impl Checked {
    pub(super) fn newest_us(&self) -> Option<i64> {
        self.times_us.as_ref().map(|times| *times.end())
    }

    fn reject(&mut self, index: u32, reason: Reason, detail: String) {
        match self.rejected.len() < MOST_REJECTED {
            true => self.rejected.push((index, reason, detail)),
            false => *self.further_rejected.entry(reason).or_default() += 1,
        }
    }

    fn accept(&mut self, time_us: i64) {
        self.accepted += 1;
        self.times_us = Some(match &self.times_us {
            None => time_us..=time_us,
            Some(times) => time_us.min(*times.start())..=time_us.max(*times.end()),
        });
    }
}

/// Where an accepted point of the batch goes.
#[derive(Debug)]
struct Place {
    point: u32,
    series: SeriesId,
    target: Target,
}

/// Where the values of a shape go.
#[derive(Debug, Clone)]
struct Target {
    plan: u32,
    /// Its part of `Packer::columns`: the columns of the fields, in their order.
    columns: Range<u32>,
}

/// A measurement as this step packs it.
#[derive(Debug)]
struct Plan {
    measurement: Arc<Measurement>,
    block: RowBlock,
}

/// Packs rows.
#[derive(Debug, Default)]
pub(super) struct Packer {
    plans: Vec<Plan>,
    plan_of: HashMap<String, u32>,
    /// Blocks of a step that is committed: their memory is used again.
    spare: Vec<RowBlock>,
    places: Vec<Place>,
    /// By the number of the shape; `None`: not found in this step yet.
    targets: Vec<Option<Target>>,
    targets_of: u64,
    columns: Vec<(u32, ValueType)>,
    /// The hosts of the batch, and what the identities of their series begin with.
    hosts: Vec<(HostKey, Vec<u8>)>,
    identity: Vec<u8>,
    rows: usize,
    now_us: i64,
}

impl Packer {
    pub(super) fn begin_step(&mut self, now_us: i64) {
        self.plans.clear();
        self.plan_of.clear();
        self.targets.clear();
        self.columns.clear();
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
        if self.targets_of != batch.shape_generation() {
            self.targets.clear();
            self.targets_of = batch.shape_generation();
        }
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
                Ok(Some((target, series))) => {
                    checked.accept(point.time_us);
                    self.places.push(Place {
                        point: at as u32,
                        series,
                        target,
                    });
                }
                Ok(None) => {}
                Err(Rejected(reason, detail)) => {
                    checked.reject(point.index, reason, detail);
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
            let Target { plan, columns } = &place.target;
            let block = &mut self.plans[*plan as usize].block;
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
            let columns = &self.columns[columns.start as usize..columns.end as usize];
            for (&(column, _), (_, value)) in columns.iter().zip(point.fields) {
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
    ) -> Result<Option<(Target, SeriesId)>, Rejected> {
        check_limits(&catalog.limits, self.now_us, point)?;
        let target = match self.known_target(point.shape, keyed) {
            Some(known) => Some(known),
            None => self.find_target(catalog, point, keyed, needs)?,
        };
        if let Some(Target { columns, .. }) = &target {
            let columns = &self.columns[columns.start as usize..columns.end as usize];
            check_types(columns, point)?;
        }
        let series = self.series(catalog, point, needs)?;
        Ok(target.zip(series))
    }

    #[inline]
    fn known_target(&self, shape: u32, keyed: bool) -> Option<Target> {
        let known = self.targets.get(shape as usize)?.as_ref()?;
        let is_keyed = self.plans[known.plan as usize].measurement.keyed;
        (is_keyed || !keyed).then(|| known.clone())
    }

    /// Finds block and columns of the point's shape, and keeps them for the rest of the step.
    fn find_target(
        &mut self,
        catalog: &Catalog,
        point: &PointRef<'_, '_>,
        keyed: bool,
        needs: &mut Needs,
    ) -> Result<Option<Target>, Rejected> {
        let Some(plan) = self.plan(catalog, point, keyed, needs)? else {
            return Ok(None);
        };
        let Some(columns) = self.find_columns(plan, point, needs)? else {
            return Ok(None);
        };
        let target = Target { plan, columns };
        let shape = point.shape as usize;
        if self.targets.len() <= shape {
            self.targets.resize(shape + 1, None);
        }
        self.targets[shape] = Some(target.clone());
        Ok(Some(target))
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
    ) -> Result<Option<Range<u32>>, Rejected> {
        let begin = self.columns.len();
        let measurement = &self.plans[plan as usize].measurement;
        let mut ask = false;
        for (name, value) in point.fields {
            if let Some(column) = measurement.column(name) {
                let value_type = measurement.fields[column].value_type;
                self.columns.push((column as u32, value_type));
                continue;
            }
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
        }
        if ask {
            self.columns.truncate(begin);
            return Ok(None);
        }
        Ok(Some(begin as u32..self.columns.len() as u32))
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
