//! Gathers points of a foreign message one by one: names into our pattern, one of the tags is the
//! host, what is wrong becomes the point's own dead letter.
//!
//! A caller hands over the tags and fields of a point, then its measurement and time
//! ([`ForeignPoints::finish`]). After the first error of a point it hands over nothing more of it
//! but the error ([`ForeignPoints::reject`]).

use super::{DecodeContext, names};
use crate::check::{self, Checked, SeenNames, Wrong, wrong};
use crate::error::quote;
use std::borrow::Cow;
use tidegauge_model::{BatchRef, Kind, Name, Reason, ValueRef};

/// What an encoding says about its points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForeignRules {
    /// The tags that name the host unless the settings say others, the best one first.
    pub(crate) host_tags: &'static [&'static str],
    /// The host has a port at its end, `web-1:9100`: it is cut off, and the tag is kept as well,
    /// because several programs of one host may differ in it alone.
    pub(crate) cut_port: bool,
    /// Of a field that is there twice the last one counts, instead of being an error.
    pub(crate) last_field_counts: bool,
}

/// The points of one message.
#[derive(Debug)]
pub(crate) struct ForeignPoints<'c, 'a> {
    batch: &'c mut BatchRef<'a>,
    context: DecodeContext<'a>,
    rules: ForeignRules,
    /// The best tag so far that names the host: its rank, its name and its text.
    host: Option<(usize, Cow<'a, str>, Cow<'a, str>)>,
    /// Whether all names so far are those of the point before, so that they need no checks.
    alike_tags: bool,
    alike_fields: bool,
    /// The names of the fields that were not in our pattern, as they came.
    rewritten: Vec<(usize, String)>,
    tag_names: SeenNames<Cow<'a, str>>,
    field_names: SeenNames<Cow<'a, str>>,
    left_out: u64,
}

impl<'c, 'a> ForeignPoints<'c, 'a> {
    /// Begins a message; what `batch` held before is forgotten.
    pub(crate) fn new(
        batch: &'c mut BatchRef<'a>,
        context: DecodeContext<'a>,
        rules: ForeignRules,
    ) -> Self {
        *batch = std::mem::take(batch).recycle();
        Self {
            batch,
            context,
            rules,
            host: None,
            alike_tags: true,
            alike_fields: true,
            rewritten: Vec::new(),
            tag_names: SeenNames::default(),
            field_names: SeenNames::default(),
            left_out: 0,
        }
    }

    /// A tag of the point that is open.
    #[inline]
    pub(crate) fn tag(&mut self, name: Cow<'a, str>, text: Cow<'a, str>) -> Checked {
        let Some(rank) = self.host_rank(&name) else {
            return self.other_tag(name, text);
        };
        match self.host.take() {
            Some((best, best_name, best_text)) if best <= rank => {
                let twice = best == rank;
                self.host = Some((best, best_name, best_text));
                if twice {
                    return check::new_name("host", true);
                }
                self.other_tag(name, text)
            }
            Some((_, other_name, other_text)) => {
                self.host = Some((rank, name, text));
                self.other_tag(other_name, other_text)
            }
            None => {
                self.host = Some((rank, name, text));
                Ok(())
            }
        }
    }

    #[inline]
    fn host_rank(&self, name: &str) -> Option<usize> {
        match &self.context.foreign.host_tags {
            None => self.rules.host_tags.iter().position(|tag| *tag == name),
            Some(tags) => tags.iter().position(|tag| tag == name),
        }
    }

    fn other_tag(&mut self, name: Cow<'a, str>, text: Cow<'a, str>) -> Checked {
        check::text(&text)?;
        if self.alike_tags && self.batch.next_tag_name() == Some(&name) {
            self.batch.push_tag(name, text);
            return Ok(());
        }
        self.alike_tags = false;
        let ours = names::name(name)?;
        if self.tag_names.seen(&ours, self.batch.open_tags()) {
            return twice(&ours);
        }
        self.batch.push_tag(ours, text);
        Ok(())
    }

    /// A field of the point that is open. A number that is not finite is left out and counted.
    #[inline]
    pub(crate) fn field(&mut self, name: Cow<'a, str>, value: ValueRef<'a>) -> Checked {
        match &value {
            ValueRef::Float(number) if !number.is_finite() => {
                self.left_out += 1;
                return names::name(name).map(|_| ());
            }
            ValueRef::Text(text) => check::text(text)?,
            ValueRef::Float(_) | ValueRef::Bool(_) => {}
        }
        if self.alike_fields && self.batch.next_field_name() == Some(&name) {
            self.batch.push_field(name, value);
            return Ok(());
        }
        self.alike_fields = false;
        self.other_field(name, value)
    }

    fn other_field(&mut self, name: Cow<'a, str>, value: ValueRef<'a>) -> Checked {
        let foreign = name.clone();
        let ours = names::name(name)?;
        if self.field_names.seen(&ours, self.batch.open_fields()) {
            return self.field_again(&foreign, &ours, value);
        }
        if ours != foreign {
            let place = self.batch.open_fields().len();
            self.rewritten.push((place, foreign.into_owned()));
        }
        self.batch.push_field(ours, value);
        Ok(())
    }

    /// A field whose name in our pattern is there: the same field, or another of the same name.
    #[cold]
    fn field_again(&mut self, foreign: &str, ours: &str, value: ValueRef<'a>) -> Checked {
        let mut fields = self.batch.open_fields().iter();
        let place = fields.position(|(known, _)| known == ours).unwrap_or(0);
        let as_it_came = self.rewritten.iter().find(|(at, _)| *at == place);
        let known = as_it_came.map_or(ours, |(_, known)| known.as_str());
        if known != foreign {
            let (known, foreign) = (quote(known), quote(foreign));
            let detail = format!("{known} and {foreign} are both the name {ours}");
            return wrong(Reason::DuplicateKey, detail);
        }
        if !self.rules.last_field_counts {
            return twice(ours);
        }
        self.batch.replace_open_field(place, value);
        Ok(())
    }

    /// Says that a measurement, whose name is in our pattern, is no gauge; once for each.
    pub(crate) fn kind(&mut self, measurement: &Name, kind: Kind) {
        let measurement = Cow::Owned(measurement.as_str().to_owned());
        self.batch.kinds.push((measurement, kind));
    }

    /// Counts a point that is not begun, because its only value is no finite number.
    pub(crate) fn leave_out(&mut self) {
        self.batch.left_out += 1;
    }

    /// Whether the open point has a field.
    pub(crate) fn has_fields(&self) -> bool {
        !self.batch.open_fields().is_empty()
    }

    /// Closes the point; after an error it is still open, to be rejected. `index` is its place in
    /// the message.
    #[inline]
    pub(crate) fn finish(
        &mut self,
        index: u32,
        measurement: Cow<'a, str>,
        time_us: i64,
    ) -> Checked {
        check::time_us(time_us)?;
        let measurement = names::name(measurement)?;
        if !self.has_fields() {
            return wrong(Reason::NoFields, "no field has a value");
        }
        let host = self.place_of_host()?;
        self.batch
            .finish_point_of(host, index, measurement, time_us);
        self.batch.left_out += self.left_out;
        self.begin_point();
        Ok(())
    }

    fn place_of_host(&mut self) -> Checked<u32> {
        let Some((rank, name, text)) = self.host.take() else {
            let Some(default) = &self.context.foreign.default_host else {
                return wrong(Reason::MissingKey, self.no_host());
            };
            let default = default.as_str();
            let known = self.batch.host_place(default);
            return Ok(known.unwrap_or_else(|| self.batch.add_host(Cow::Borrowed(default))));
        };
        let host = match self.rules.cut_port {
            true => without_port(text.clone()),
            false => text.clone(),
        };
        if host.len() != text.len() {
            self.other_tag(name, text)?;
        } else {
            self.host = Some((rank, name, text));
        }
        match self.batch.host_place(&host) {
            Some(place) => Ok(place),
            None => {
                check::host(&host)?;
                Ok(self.batch.add_host(host))
            }
        }
    }

    #[cold]
    fn no_host(&self) -> String {
        let tags = match &self.context.foreign.host_tags {
            None => self.rules.host_tags.join(", "),
            Some(tags) => tags.join(", "),
        };
        format!("no tag names the host ({tags}), and sink.default_host is not set")
    }

    /// Gives up the point that is open. `at` is a place as in `line 3 (byte 70, column 12)`.
    #[cold]
    pub(crate) fn reject(&mut self, index: u32, at: &str, wrong: &Wrong) {
        let detail = format!("at {at}: {}", wrong.detail);
        self.batch.reject_point(index, wrong.reason, detail);
        self.begin_point();
    }

    /// Gives up the point that is open without a word.
    #[cold]
    pub(crate) fn abandon(&mut self) {
        self.batch.abandon_point();
        self.begin_point();
    }

    #[inline]
    fn begin_point(&mut self) {
        self.tag_names.begin();
        self.field_names.begin();
        self.host = None;
        (self.alike_tags, self.alike_fields) = (true, true);
        self.rewritten.clear();
        self.left_out = 0;
    }
}

#[cold]
fn twice(name: &str) -> Checked {
    wrong(
        Reason::DuplicateKey,
        format!("{} is there twice", quote(name)),
    )
}

/// `web-1:9100` without its port; an address of IPv6 has it only behind brackets, which go with it.
fn without_port(host: Cow<'_, str>) -> Cow<'_, str> {
    let kept = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(kept, _)| 1..1 + kept.len()),
        None => host
            .split_once(':')
            .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
            .map(|(kept, _)| 0..kept.len()),
    };
    match (host, kept) {
        (host, None) => host,
        (Cow::Borrowed(host), Some(kept)) => Cow::Borrowed(&host[kept]),
        (Cow::Owned(host), Some(kept)) => Cow::Owned(host[kept].to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::ForeignSettings;
    use tidegauge_model::Host;

    const RULES: ForeignRules = ForeignRules {
        host_tags: &["instance", "node"],
        cut_port: true,
        last_field_counts: false,
    };

    /// The hosts and tags of points with these tags, or why there are none.
    fn points(foreign: &ForeignSettings, points: &[&[(&str, &str)]]) -> Vec<String> {
        let context = DecodeContext {
            foreign,
            received_us: None,
        };
        let mut batch = BatchRef::default();
        let mut gathered = ForeignPoints::new(&mut batch, context, RULES);
        for (index, tags) in (0..).zip(points) {
            let finished = tags
                .iter()
                .try_for_each(|(name, text)| {
                    gathered.tag(
                        Cow::Owned((*name).to_owned()),
                        Cow::Owned((*text).to_owned()),
                    )
                })
                .and_then(|()| gathered.field(Cow::Borrowed("f"), ValueRef::Bool(true)))
                .and_then(|()| gathered.finish(index, Cow::Borrowed("m"), 1));
            if let Err(wrong) = finished {
                gathered.reject(index, "point", &wrong);
            }
        }
        let hosts: Vec<_> = batch.hosts().collect();
        let mut told: Vec<(u32, String)> = batch
            .points()
            .map(|p| (p.index, format!("{} {:?}", hosts[p.host as usize], p.tags)))
            .chain(
                batch
                    .rejected
                    .iter()
                    .map(|r| (r.index, format!("{}: {}", r.reason, r.detail))),
            )
            .collect();
        told.sort();
        told.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn the_best_tag_is_the_host_and_the_others_stay_tags() {
        let none = ForeignSettings::default();
        let told = points(
            &none,
            &[
                &[("node", "b"), ("instance", "a:80"), ("diskIO", "x")],
                &[("node", "b"), ("x", "y")],
                &[("x", "y")],
                &[("node", "b"), ("node", "c")],
                &[("instance", "")],
                &[("instance", "[::1]:80")],
                &[("instance", "::1")],
                &[("instance", "http://x:80/")],
                &[("a.b", "1"), ("a-b", "2"), ("node", "b")],
            ],
        );
        let expected = [
            r#"a [("node", "b"), ("disk_io", "x"), ("instance", "a:80")]"#,
            r#"b [("x", "y")]"#,
            "missing_key: at point: no tag names the host (instance, node), and sink.default_host is not set",
            r#"duplicate_key: at point: "host" is there twice"#,
            "bad_host: at point: a host name has 1 to 253 bytes and no control characters",
            r#"::1 [("instance", "[::1]:80")]"#,
            "::1 []",
            "http://x:80/ []",
            r#"duplicate_key: at point: "a_b" is there twice"#,
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn settings_name_the_tags_and_a_host_for_those_without() {
        let settings = ForeignSettings {
            host_tags: Some(vec!["x".to_owned()]),
            default_host: Some(Host::new("d").expect("valid")),
            time_unit: None,
        };
        let told = points(&settings, &[&[("x", "h")], &[("node", "n")], &[]]);
        assert_eq!(told, ["h []", r#"d [("node", "n")]"#, "d []"]);
    }

    #[test]
    fn many_names_are_told_apart_in_each_point_anew() {
        let many: Vec<String> = (0..70).map(|number| format!("t{number}")).collect();
        let mut all: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
        all.push(("node", "h"));
        let mut twice = all.clone();
        twice.push(("t3", "y"));
        let other: Vec<_> = all.iter().rev().copied().collect();
        let told = points(
            &ForeignSettings::default(),
            &[&all, &twice, &other, &all, &twice],
        );
        let is_twice: Vec<bool> = told
            .iter()
            .map(|told| told.starts_with("duplicate_key"))
            .collect();
        assert_eq!(is_twice, [false, true, false, false, true]);
    }

    #[test]
    fn names_like_those_of_the_point_before_are_still_told_apart() {
        let told = points(
            &ForeignSettings::default(),
            &[
                &[("node", "h"), ("a", "1"), ("b", "2")],
                &[("node", "h"), ("a", "1"), ("b", "2"), ("a", "3")],
                &[("node", "h"), ("a", "1"), ("a", "2")],
                &[("node", "h"), ("b", "1"), ("a", "2"), ("B", "3")],
            ],
        );
        assert_eq!(told[0], r#"h [("a", "1"), ("b", "2")]"#);
        assert!(
            told[1..]
                .iter()
                .all(|told| told.starts_with("duplicate_key"))
        );
    }
}
