//! A decoded batch that borrows from its message: the hot path of the sink.
//!
//! Tags and fields of all points lie in two vectors, and a point holds its ranges of them, so
//! that decoding a message of a hundred points allocates a handful of times, not hundreds.
//!
//! A message of a foreign format may hold points of several hosts: the first one found is the
//! batch's host, the others follow it in a list, and each point has an index into them.

use crate::shape::{Names, ShapeBook};
use crate::{Batch, DropNotice, Host, IdentityError, Kind, Name, NameError, Origin, Point, Reason};
use crate::{Shape, Tags, ValueRef};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Up to so many hosts of one message are compared one by one, more are looked up.
const COMPARED_HOSTS: usize = 16;

/// So many points of one message are rejected one by one, further ones are only counted: a message of
/// millions of bad lines must take neither the memory nor the tables of millions of complaints (D11).
pub const MOST_REJECTED: usize = 100;

/// A batch as decoded, borrowing its texts from the message.
#[derive(Debug, Clone, Default)]
pub struct BatchRef<'a> {
    /// Agent, epoch and sequence, where the producer numbers its batches.
    pub origin: Option<Origin>,
    /// The host name, already checked; of points of several hosts that of the first. Empty only in
    /// a message of a foreign format without any point that can be stored.
    pub host: Cow<'a, str>,
    /// Labels of the host.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The kinds of measurements that are no gauges, names checked, no name twice.
    pub kinds: Vec<(Cow<'a, str>, Kind)>,
    /// Batches told to be given up.
    pub drops: Vec<DropNotice>,
    /// Points that were there but cannot be stored (D7); their neighbours are in `points()`.
    pub rejected: Vec<RejectedPoint>,
    /// Further ones than [`MOST_REJECTED`], by their reason.
    pub further_rejected: BTreeMap<Reason, u64>,
    /// Numbers that were not finite and were left out.
    pub left_out: u64,
    /// The hosts after the first, already checked.
    further_hosts: Vec<Cow<'a, str>>,
    /// The place of each host, once there are many.
    host_places: HashMap<Cow<'a, str>, u32>,
    points: Vec<PointSpan<'a>>,
    tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    fields: Vec<(Cow<'a, str>, ValueRef<'a>)>,
    /// Outlives the message.
    shapes: ShapeBook,
}

/// A point of a message that cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedPoint {
    /// Its place in the message: in a list of points from 0, in a text of lines the line from 1.
    pub index: u32,
    /// Why, from the closed list.
    pub reason: Reason,
    /// What was wrong, for a person.
    pub detail: String,
}

#[derive(Debug, Clone)]
struct PointSpan<'a> {
    index: u32,
    host: u32,
    shape: u32,
    measurement: Cow<'a, str>,
    time_us: i64,
    tags: Range<u32>,
    fields: Range<u32>,
}

/// One point of a [`BatchRef`].
#[derive(Debug, Clone, Copy)]
pub struct PointRef<'a, 'b> {
    /// Its place in the message: in a list of points from 0, in a text of lines the line from 1.
    pub index: u32,
    /// Its place in [`BatchRef::hosts`]; 0 is the batch's host.
    pub host: u32,
    /// The number of its [`Shape`], for as long as [`BatchRef::shape_generation`] is the same.
    pub shape: u32,
    /// The measurement's name, already checked.
    pub measurement: &'b str,
    /// Microseconds since 1970 UTC.
    pub time_us: i64,
    /// Tags in the order of the message, names checked, no name twice.
    pub tags: &'b [(Cow<'a, str>, Cow<'a, str>)],
    /// Fields in the order of the message, names checked, no name twice, at least one.
    pub fields: &'b [(Cow<'a, str>, ValueRef<'a>)],
}

impl<'a> BatchRef<'a> {
    /// Adds a tag of the point that [`BatchRef::finish_point`] will close.
    #[inline]
    pub fn push_tag(&mut self, name: Cow<'a, str>, text: Cow<'a, str>) {
        self.tags.push((name, text));
    }

    /// Adds a field of the point that [`BatchRef::finish_point`] will close.
    #[inline]
    pub fn push_field(&mut self, name: Cow<'a, str>, value: ValueRef<'a>) {
        self.fields.push((name, value));
    }

    /// Adds fields of the point that [`BatchRef::finish_point`] will close; quicker than one by one.
    #[inline]
    pub fn push_fields(&mut self, fields: impl Iterator<Item = (Cow<'a, str>, ValueRef<'a>)>) {
        self.fields.extend(fields);
    }

    /// Tags pushed since the last point was closed.
    #[must_use]
    #[inline]
    pub fn open_tags(&self) -> &[(Cow<'a, str>, Cow<'a, str>)] {
        &self.tags[self.points.last().map_or(0, |last| last.tags.end as usize)..]
    }

    /// Fields pushed since the last point was closed.
    #[must_use]
    #[inline]
    pub fn open_fields(&self) -> &[(Cow<'a, str>, ValueRef<'a>)] {
        &self.fields[self
            .points
            .last()
            .map_or(0, |last| last.fields.end as usize)..]
    }

    /// The name of the tag that the point before has where the open one has its next.
    #[must_use]
    #[inline]
    pub fn next_tag_name(&self) -> Option<&Cow<'a, str>> {
        let last = &self.points.last()?.tags;
        let place = last.start as usize + (self.tags.len() - last.end as usize);
        (place < last.end as usize).then(|| &self.tags[place].0)
    }

    /// The name of the field that the point before has where the open one has its next.
    #[must_use]
    #[inline]
    pub fn next_field_name(&self) -> Option<&Cow<'a, str>> {
        let last = &self.points.last()?.fields;
        let place = last.start as usize + (self.fields.len() - last.end as usize);
        (place < last.end as usize).then(|| &self.fields[place].0)
    }

    /// Replaces the value of a field of the open point.
    pub fn replace_open_field(&mut self, place: usize, value: ValueRef<'a>) {
        let begin = self.fields.len() - self.open_fields().len();
        self.fields[begin + place].1 = value;
    }

    /// The place of this host, if a point of it is there already.
    #[must_use]
    #[inline]
    pub fn host_place(&self, host: &str) -> Option<u32> {
        // Points that follow each other are mostly of one host.
        if let Some(last) = self.points.last()
            && self.host_at(last.host) == host
        {
            return Some(last.host);
        }
        if !self.host_places.is_empty() {
            return self.host_places.get(host).copied();
        }
        let found = self.hosts().position(|known| known == host);
        found.and_then(|place| u32::try_from(place).ok())
    }

    /// Adds a host, already checked, that is not there yet; returns its place.
    pub fn add_host(&mut self, host: Cow<'a, str>) -> u32 {
        if self.host.is_empty() {
            self.host = host;
            return 0;
        }
        let place = |places: usize| u32::try_from(places).unwrap_or(u32::MAX);
        self.further_hosts.push(host.clone());
        let added = place(self.further_hosts.len());
        if !self.host_places.is_empty() {
            self.host_places.insert(host, added);
        } else if self.further_hosts.len() >= COMPARED_HOSTS {
            let all = std::iter::once(&self.host).chain(&self.further_hosts);
            self.host_places = all.cloned().zip(0..).collect();
        }
        added
    }

    /// The hosts of the points, the batch's own first.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let first = Some(self.host.as_ref()).filter(|host| !host.is_empty());
        first
            .into_iter()
            .chain(self.further_hosts.iter().map(Cow::as_ref))
    }

    fn host_at(&self, place: u32) -> &str {
        match place {
            0 => &self.host,
            _ => &self.further_hosts[place as usize - 1],
        }
    }

    /// Closes a point of the batch's own host: it owns what was pushed since the one before.
    #[inline]
    pub fn finish_point(&mut self, index: u32, measurement: Cow<'a, str>, time_us: i64) {
        self.finish_point_of(0, index, measurement, time_us);
    }

    /// Closes a point of the host at this place; answers the number of its shape.
    #[inline]
    pub fn finish_point_of(
        &mut self,
        host: u32,
        index: u32,
        measurement: Cow<'a, str>,
        time_us: i64,
    ) -> u32 {
        let (tags, fields) = self.open();
        let shape = self.shapes.find(&Names {
            measurement: &measurement,
            tags: &self.tags[tags as usize..],
            fields: &self.fields[fields as usize..],
        });
        self.close_point(host, shape, index, measurement, time_us);
        shape
    }

    /// Closes a point of the batch's own host whose names are those of this shape, in its order, as
    /// the caller has found out.
    #[inline]
    pub fn finish_point_in(
        &mut self,
        shape: u32,
        index: u32,
        measurement: Cow<'a, str>,
        time_us: i64,
    ) {
        self.close_point(0, shape, index, measurement, time_us);
    }

    #[inline]
    fn close_point(
        &mut self,
        host: u32,
        shape: u32,
        index: u32,
        measurement: Cow<'a, str>,
        time_us: i64,
    ) {
        let (tags, fields) = self.open();
        self.shapes.note(shape);
        self.points.push(PointSpan {
            index,
            host,
            shape,
            measurement,
            time_us,
            tags: tags..u32::try_from(self.tags.len()).unwrap_or(u32::MAX),
            fields: fields..u32::try_from(self.fields.len()).unwrap_or(u32::MAX),
        });
    }

    /// Where the tags and fields of the open point begin.
    #[inline]
    fn open(&self) -> (u32, u32) {
        let last = self.points.last();
        last.map_or((0, 0), |last| (last.tags.end, last.fields.end))
    }

    /// The number of the shape that the open point probably has: that of the point at its place in
    /// the message before.
    #[must_use]
    #[inline]
    pub fn expected_shape(&self) -> Option<u32> {
        self.shapes.expected()
    }

    /// The shape of this number.
    #[must_use]
    #[inline]
    pub fn shape(&self, shape: u32) -> Option<&Shape> {
        self.shapes.get(shape)
    }

    /// Changes when shapes are numbered anew.
    #[must_use]
    pub fn shape_generation(&self) -> u64 {
        self.shapes.generation()
    }

    /// Gives up the point that is open.
    pub fn abandon_point(&mut self) {
        let (tags, fields) = self.open();
        self.tags.truncate(tags as usize);
        self.fields.truncate(fields as usize);
    }

    /// Gives up the point that is open and notes why.
    pub fn reject_point(&mut self, index: u32, reason: Reason, detail: String) {
        self.abandon_point();
        if self.rejected.len() >= MOST_REJECTED {
            *self.further_rejected.entry(reason).or_default() += 1;
            return;
        }
        self.rejected.push(RejectedPoint {
            index,
            reason,
            detail,
        });
    }

    /// Empties everything and keeps the memory, for the next message. The lifetime is free again.
    #[must_use]
    pub fn recycle<'b>(self) -> BatchRef<'b> {
        // Collecting an emptied vector into one of the same layout reuses its allocation.
        fn reuse<A, B>(mut vector: Vec<A>) -> Vec<B> {
            vector.clear();
            vector
                .into_iter()
                .map(|_| unreachable!("the vector is empty"))
                .collect()
        }
        let mut shapes = self.shapes;
        shapes.begin_message();
        BatchRef {
            shapes,
            points: reuse(self.points),
            tags: reuse(self.tags),
            fields: reuse(self.fields),
            ..BatchRef::default()
        }
    }

    /// The points that can be stored.
    pub fn points<'b>(&'b self) -> impl ExactSizeIterator<Item = PointRef<'a, 'b>> {
        self.points.iter().map(|span| PointRef {
            index: span.index,
            host: span.host,
            shape: span.shape,
            measurement: &span.measurement,
            time_us: span.time_us,
            tags: &self.tags[span.tags.start as usize..span.tags.end as usize],
            fields: &self.fields[span.fields.start as usize..span.fields.end as usize],
        })
    }

    /// An owned copy, as the sender had it; points that were rejected are not in it.
    ///
    /// # Errors
    /// When there are several hosts. When a name or the host was not checked by the decoder, which
    /// is a defect of the decoder.
    pub fn to_batch(&self) -> Result<Batch, ToBatchError> {
        if !self.further_hosts.is_empty() {
            return Err(ToBatchError::SeveralHosts);
        }
        let own_tags = |tags: &[(Cow<'a, str>, Cow<'a, str>)]| -> Result<Tags, NameError> {
            tags.iter()
                .map(|(name, text)| Ok((Name::new(name)?, Cow::Owned(text.clone().into_owned()))))
                .collect()
        };
        let kinds: HashMap<&str, Kind> = (self.kinds.iter())
            .map(|(measurement, kind)| (measurement.as_ref(), *kind))
            .collect();
        let mut points = Vec::with_capacity(self.points.len());
        for point in self.points() {
            let kind = kinds.get(point.measurement).copied();
            let mut owned = Point::new(Name::new(point.measurement)?, point.time_us)
                .of_kind(kind.unwrap_or(Kind::Gauge));
            for (name, text) in own_tags(point.tags)? {
                owned = owned.tag(name, text);
            }
            for (name, value) in point.fields {
                owned.set(Name::new(name)?, value.to_value());
            }
            points.push(owned);
        }
        Ok(Batch {
            origin: self.origin.clone(),
            host: Host::new(self.host.as_ref())?,
            labels: own_tags(&self.labels)?,
            drops: self.drops.clone(),
            points,
        })
    }
}

/// Why a [`BatchRef`] could not be copied into a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToBatchError {
    /// A name that does not follow the pattern.
    #[error("copying a decoded batch")]
    Name(#[from] NameError),
    /// A host that does not follow the pattern.
    #[error("copying a decoded batch")]
    Host(#[from] IdentityError),
    /// Points of several hosts, which a batch cannot hold.
    #[error("copying a decoded batch: its points are of several hosts")]
    SeveralHosts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_again_however_many_there_are() {
        let mut batch = BatchRef::default();
        assert_eq!(batch.hosts().count(), 0);
        for round in 0..2 {
            for number in 0..3 * COMPARED_HOSTS as u32 {
                let host = format!("h{number}");
                let place = match batch.host_place(&host) {
                    Some(place) => place,
                    None => batch.add_host(Cow::Owned(host)),
                };
                assert_eq!(place, number, "in round {round}");
                batch.push_field(Cow::Borrowed("f"), ValueRef::Bool(true));
                batch.finish_point_of(place, number, Cow::Borrowed("m"), 1);
            }
        }
        let hosts: Vec<_> = batch.hosts().map(str::to_owned).collect();
        assert!(
            batch
                .points()
                .all(|p| hosts[p.host as usize] == format!("h{}", p.index))
        );
        assert_eq!(batch.to_batch(), Err(ToBatchError::SeveralHosts));
        assert_eq!(batch.recycle().hosts().count(), 0);
    }

    #[test]
    fn a_rejected_point_leaves_no_trace_in_its_neighbours() {
        let mut batch = BatchRef {
            host: Cow::Borrowed("h"),
            ..BatchRef::default()
        };
        batch.push_field(Cow::Borrowed("a"), ValueRef::Float(1.0));
        batch.finish_point(0, Cow::Borrowed("m"), 10);
        batch.push_tag(Cow::Borrowed("t"), Cow::Borrowed("x"));
        batch.push_field(Cow::Borrowed("b"), ValueRef::Float(2.0));
        batch.reject_point(1, Reason::BadTime, "no time".to_owned());
        batch.push_field(Cow::Borrowed("c"), ValueRef::Float(3.0));
        batch.finish_point(2, Cow::Borrowed("m"), 30);
        let points: Vec<_> = batch
            .points()
            .map(|p| (p.index, p.tags.len(), p.fields.to_vec()))
            .collect();
        assert_eq!(points[0].2, [(Cow::Borrowed("a"), ValueRef::Float(1.0))]);
        assert_eq!((points[1].0, points[1].1), (2, 0));
        assert_eq!(points[1].2, [(Cow::Borrowed("c"), ValueRef::Float(3.0))]);
        assert_eq!(batch.rejected[0].index, 1);
        assert_eq!(batch.recycle().points().len(), 0);
    }

    #[test]
    fn of_many_bad_points_the_first_are_told_and_the_others_counted_d11() {
        let mut batch = BatchRef::default();
        for index in 0..1_000 {
            let reason = match index % 4 {
                0 => Reason::BadTime,
                _ => Reason::Syntax,
            };
            batch.reject_point(index, reason, "bad".to_owned());
        }
        let told = batch.rejected.iter().map(|rejected| rejected.index);
        assert!(told.eq(0..100));
        let counted = BTreeMap::from([(Reason::BadTime, 225), (Reason::Syntax, 675)]);
        assert_eq!(batch.further_rejected, counted);
        let batch = batch.recycle();
        assert!(batch.rejected.is_empty() && batch.further_rejected.is_empty());
    }
}
