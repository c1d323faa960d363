//! The envelope of a message. Its points are read by `point`.
//!
//! Any error here fails the message. serde_json stops at it, which gives the place; what was wrong
//! is kept beside ([`Refusal`]), because serde's errors hold a text only.

use super::point::Points;
use super::usual;
use super::value::{
    Found, KeySeed, OUT_OF_RANGE, Read, ReadSeed, Scalar, ScalarSeed, skip_rest, without_place,
};
use crate::check::{self, Checked, SeenNames};
use crate::error::quote;
use crate::{DecodeError, Place};
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess};
use std::borrow::Cow;
use std::collections::HashSet;
use tidegauge_model::{AgentId, BatchRef, DropNotice, DropReason, Origin, Reason};

pub(super) fn decode<'a>(bytes: &'a [u8], into: &mut BatchRef<'a>) -> Result<(), DecodeError> {
    *into = std::mem::take(into).recycle();
    if usual::decode(bytes, into).is_some() {
        debug_assert!(is_read_the_same(bytes, into), "the two readers differ");
        return Ok(());
    }
    let Err(error) = decode_with(bytes, into, false) else {
        return Ok(());
    };
    if error.reason == Reason::Syntax && error.detail == OUT_OF_RANGE {
        // Rare, so a second pass over the message is no matter.
        return decode_with(bytes, into, true);
    }
    if error.reason == Reason::Syntax || error.reason == Reason::UnknownVersion {
        return Err(error);
    }
    // What looks wrong to version 1 may be right in the version that the message is of.
    Err(other_version(bytes).unwrap_or(error))
}

/// Whether the message is what this reader finds in it, too.
fn is_read_the_same(bytes: &[u8], usual: &BatchRef<'_>) -> bool {
    let mut batch = BatchRef::default();
    let is_read = decode_with(bytes, &mut batch, false).is_ok();
    let points = batch.points().zip(usual.points());
    is_read
        && batch.rejected.is_empty()
        && batch.left_out == 0
        && (&batch.origin, &batch.host, &batch.labels, &batch.kinds)
            == (&usual.origin, &usual.host, &usual.labels, &usual.kinds)
        && batch.points().len() == usual.points().len()
        && points.into_iter().all(|(a, b)| {
            (a.index, a.measurement, a.time_us, a.tags, a.fields)
                == (b.index, b.measurement, b.time_us, b.tags, b.fields)
        })
}

/// With `huge_numbers`, numbers beyond a double are infinite instead of an error of the text.
pub(super) fn decode_with<'a>(
    bytes: &'a [u8],
    into: &mut BatchRef<'a>,
    huge_numbers: bool,
) -> Result<(), DecodeError> {
    *into = std::mem::take(into).recycle();
    if bytes.is_empty() {
        let detail = "the message is empty";
        return Err(DecodeError::new(Reason::Empty, Place::default(), detail));
    }
    let mut envelope = Envelope {
        points: Points::new(into, ScalarSeed { huge_numbers }),
        place: "",
        refusal: None,
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let found = ReadSeed(&mut envelope).deserialize(&mut reader);
    let error = match found.and_then(|found| reader.end().map(|()| found)) {
        Ok(Found::Expected) => return Ok(()),
        Ok(Found::Other(found)) => {
            let detail = format!("expected an object, found {found}");
            return Err(DecodeError::new(
                Reason::NotAnObject,
                Place::default(),
                detail,
            ));
        }
        Err(error) => error,
    };
    let (line, column) = (error.line(), error.column());
    let refusal = envelope.refusal.take().unwrap_or_else(|| Refusal {
        reason: Reason::Syntax,
        path: match envelope.place {
            "points" => format!("points[{}]", envelope.points.index),
            place => place.to_owned(),
        },
        detail: without_place(&error.to_string()),
    });
    let at = Place::in_text(bytes, line, column, refusal.path);
    Err(DecodeError::new(refusal.reason, at, refusal.detail))
}

/// Why the envelope was refused, kept while serde carries its own error up.
#[derive(Debug)]
struct Refusal {
    reason: Reason,
    path: String,
    detail: String,
}

#[derive(Debug)]
struct Envelope<'c, 'a> {
    points: Points<'c, 'a>,
    /// The key of the envelope that is being read.
    place: &'static str,
    refusal: Option<Refusal>,
}

/// Agent, epoch and sequence as far as they were there.
#[derive(Debug, Default)]
struct Identity {
    agent: Option<AgentId>,
    epoch: Option<i64>,
    sequence: Option<u64>,
}

const KEYS: [&str; 9] = [
    "v", "agent", "epoch", "sequence", "host", "labels", "kinds", "drops", "points",
];

impl<'de> Read<'de> for &mut Envelope<'_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let mut seen = [false; KEYS.len()];
        let mut identity = Identity::default();
        while let Some(key) = object.next_key_seed(KeySeed)? {
            let Some(known) = KEYS.iter().position(|known| *known == key) else {
                self.place = "";
                return Err(self.refuse(
                    Reason::UnknownKey,
                    "",
                    format!("the key {}", quote(&key)),
                ));
            };
            self.place = KEYS[known];
            if std::mem::replace(&mut seen[known], true) {
                let detail = format!("{} is there twice", quote(&key));
                return Err(self.refuse(Reason::DuplicateKey, "", detail));
            }
            match self.place {
                "v" => self.read_version(&mut object)?,
                "agent" => identity.agent = Some(self.read_agent(&mut object)?),
                "epoch" => {
                    let epoch = self.read_count(&mut object, "", 1)?;
                    identity.epoch = Some(epoch.cast_signed());
                }
                "sequence" => identity.sequence = Some(self.read_count(&mut object, "", 0)?),
                "host" => self.read_host(&mut object)?,
                "labels" => {
                    let found = object.next_value_seed(ReadSeed(Labels(self)))?;
                    self.expect(found, "an object")?;
                }
                "kinds" => {
                    let found = object.next_value_seed(ReadSeed(Kinds(self)))?;
                    self.expect(found, "an object")?;
                }
                "drops" => {
                    let found = object.next_value_seed(ReadSeed(Drops(self)))?;
                    self.expect(found, "a list")?;
                }
                _ => {
                    let found = object.next_value_seed(ReadSeed(&mut self.points))?;
                    self.expect(found, "a list")?;
                }
            }
        }
        self.place = "";
        for (key, seen) in KEYS.iter().zip(seen) {
            if !seen && ["v", "host", "points"].contains(key) {
                let detail = format!("the key {key:?} is missing");
                return Err(self.refuse(Reason::MissingKey, "", detail));
            }
        }
        self.finish(identity)?;
        Ok(Found::Expected)
    }
}

impl<'de> Envelope<'_, 'de> {
    #[cold]
    fn refuse<E: Error>(&mut self, reason: Reason, below: &str, detail: String) -> E {
        let path = format!("{}{below}", self.place);
        self.refusal = Some(Refusal {
            reason,
            path,
            detail,
        });
        E::custom("refused")
    }

    fn checked<T, E: Error>(&mut self, below: &str, checked: Checked<T>) -> Result<T, E> {
        checked.map_err(|wrong| self.refuse(wrong.reason, below, wrong.detail.into_owned()))
    }

    fn wrong_type<E: Error>(&mut self, below: &str, expected: &str, found: &str) -> E {
        let detail = format!("expected {expected}, found {found}");
        self.refuse(Reason::WrongType, below, detail)
    }

    fn expect<E: Error>(&mut self, found: Found, expected: &str) -> Result<(), E> {
        match found {
            Found::Expected => Ok(()),
            Found::Other(found) => Err(self.wrong_type("", expected, found)),
        }
    }

    fn read_scalar<A: MapAccess<'de>>(&self, object: &mut A) -> Result<Scalar<'de>, A::Error> {
        object.next_value_seed(self.points.scalar)
    }

    fn read_text<A: MapAccess<'de>>(&mut self, object: &mut A) -> Result<Cow<'de, str>, A::Error> {
        match self.read_scalar(object)? {
            Scalar::Text(text) => Ok(text),
            other => Err(self.wrong_type("", "a text", other.kind())),
        }
    }

    fn read_version<A: MapAccess<'de>>(&mut self, object: &mut A) -> Result<(), A::Error> {
        let known = i64::from(super::VERSION);
        match self.read_scalar(object)? {
            Scalar::Integer(version) if version == known => Ok(()),
            Scalar::Integer(version) => {
                let detail = format!("expected version {known}, found {version}");
                Err(self.refuse(Reason::UnknownVersion, "", detail))
            }
            other => Err(self.wrong_type("", "an integer", other.kind())),
        }
    }

    fn read_agent<A: MapAccess<'de>>(&mut self, object: &mut A) -> Result<AgentId, A::Error> {
        let text = self.read_text(object)?;
        self.checked("", check::agent(text))
    }

    fn read_host<A: MapAccess<'de>>(&mut self, object: &mut A) -> Result<(), A::Error> {
        let host = self.read_text(object)?;
        self.checked("", check::host(&host))?;
        self.points.batch.host = host;
        Ok(())
    }

    /// An integer from `least` to 2^63 - 1.
    fn read_count<A: MapAccess<'de>>(
        &mut self,
        object: &mut A,
        below: &str,
        least: u64,
    ) -> Result<u64, A::Error> {
        match self.read_scalar(object)? {
            Scalar::Integer(number) => self.checked(below, check::count(number.into(), least)),
            other => Err(self.wrong_type(below, "an integer", other.kind())),
        }
    }

    /// What concerns several keys.
    fn finish<E: Error>(&mut self, identity: Identity) -> Result<(), E> {
        self.points.batch.origin = match (identity.agent, identity.epoch, identity.sequence) {
            (Some(agent), Some(epoch), Some(sequence)) => Some(Origin {
                agent,
                epoch,
                sequence,
            }),
            (None, None, None) => None,
            _ => {
                let detail = "agent, epoch and sequence go together".to_owned();
                return Err(self.refuse(Reason::BadIdentity, "", detail));
            }
        };
        let batch = &self.points.batch;
        let told = check::drops_of(batch.origin.as_ref(), !batch.drops.is_empty());
        self.checked("drops", told)
    }
}

struct Labels<'e, 'c, 'a>(&'e mut Envelope<'c, 'a>);

impl<'de> Read<'de> for Labels<'_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let envelope = self.0;
        let mut names = HashSet::new();
        while let Some(name) = object.next_key_seed(KeySeed)? {
            envelope.checked("", check::name(&name))?;
            let below = format!(".{name}");
            if !names.insert(name.clone()) {
                let detail = "the label is there twice".to_owned();
                return Err(envelope.refuse(Reason::DuplicateKey, &below, detail));
            }
            match envelope.read_scalar(&mut object)? {
                Scalar::Text(text) => {
                    envelope.checked(&below, check::text(&text))?;
                    envelope.points.batch.labels.push((name, text));
                }
                other => return Err(envelope.wrong_type(&below, "a text", other.kind())),
            }
        }
        Ok(Found::Expected)
    }
}

struct Kinds<'e, 'c, 'a>(&'e mut Envelope<'c, 'a>);

impl<'de> Read<'de> for Kinds<'_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let envelope = self.0;
        let mut names = SeenNames::default();
        while let Some(name) = object.next_key_seed(KeySeed)? {
            let seen = names.seen(&name, &envelope.points.batch.kinds);
            envelope.checked("", check::new_name(&name, seen))?;
            let below = format!(".{name}");
            let kind = match envelope.read_scalar(&mut object)? {
                Scalar::Text(word) => check::kind(&word),
                other => return Err(envelope.wrong_type(&below, "a text", other.kind())),
            };
            let kind = envelope.checked(&below, kind)?;
            envelope.points.batch.kinds.push((name, kind));
        }
        Ok(Found::Expected)
    }
}

struct Drops<'e, 'c, 'a>(&'e mut Envelope<'c, 'a>);

impl<'de> Read<'de> for Drops<'_, '_, 'de> {
    const EXPECTED: &'static str = "a list";

    fn read_list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let envelope = self.0;
        while let Some(found) = list.next_element_seed(ReadSeed(OneDrop(envelope)))? {
            if let Found::Other(found) = found {
                let below = format!("[{}]", envelope.points.batch.drops.len());
                return Err(envelope.wrong_type(&below, "an object", found));
            }
        }
        Ok(Found::Expected)
    }
}

struct OneDrop<'e, 'c, 'a>(&'e mut Envelope<'c, 'a>);

impl<'de> Read<'de> for OneDrop<'_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let envelope = self.0;
        let index = envelope.points.batch.drops.len();
        let at = |key: &str| format!("[{index}].{key}");
        let (mut epoch, mut first, mut last, mut reason) = (None, None, None, None);
        while let Some(key) = object.next_key_seed(KeySeed)? {
            let twice = match key.as_ref() {
                "epoch" => {
                    let number = envelope.read_count(&mut object, &at("epoch"), 0)?;
                    epoch.replace(number.cast_signed()).is_some()
                }
                "first" => {
                    let number = envelope.read_count(&mut object, &at("first"), 0)?;
                    first.replace(number).is_some()
                }
                "last" => {
                    let number = envelope.read_count(&mut object, &at("last"), 0)?;
                    last.replace(number).is_some()
                }
                "reason" => {
                    let word = match envelope.read_scalar(&mut object)? {
                        Scalar::Text(word) => word,
                        other => {
                            return Err(envelope.wrong_type(&at("reason"), "a text", other.kind()));
                        }
                    };
                    let Some(known) = DropReason::parse(&word) else {
                        let found = quote(&word);
                        return Err(envelope.wrong_type(&at("reason"), "a known word", &found));
                    };
                    reason.replace(known).is_some()
                }
                _ => {
                    let detail = format!("the key {}", quote(&key));
                    return Err(envelope.refuse(Reason::UnknownKey, &format!("[{index}]"), detail));
                }
            };
            if twice {
                let detail = "the key is there twice".to_owned();
                return Err(envelope.refuse(Reason::DuplicateKey, &at(&key), detail));
            }
        }
        let (Some(epoch), Some(first), Some(last), Some(reason)) = (epoch, first, last, reason)
        else {
            let detail = "expected epoch, first, last and reason".to_owned();
            return Err(envelope.refuse(Reason::MissingKey, &format!("[{index}]"), detail));
        };
        envelope.checked(&format!("[{index}]"), check::drop_range(first, last))?;
        envelope.points.batch.drops.push(DropNotice {
            epoch,
            first_sequence: first,
            last_sequence: last,
            reason,
        });
        Ok(Found::Expected)
    }
}

/// Whether the message says that it is of another version, whatever else is in it.
fn other_version(bytes: &[u8]) -> Option<DecodeError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut version = None;
    let read = ReadSeed(Version(&mut version)).deserialize(&mut reader);
    read.ok()?;
    let version = version.filter(|version| *version != i64::from(super::VERSION))?;
    let detail = format!("expected version {}, found {version}", super::VERSION);
    Some(DecodeError::new(
        Reason::UnknownVersion,
        Place::key("v"),
        detail,
    ))
}

struct Version<'v>(&'v mut Option<i64>);

impl<'de> Read<'de> for Version<'_> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        while let Some(key) = object.next_key_seed(KeySeed)? {
            if key == "v" {
                let scalar = object.next_value_seed(ScalarSeed { huge_numbers: true })?;
                if let Scalar::Integer(version) = scalar {
                    *self.0 = Some(version);
                }
                skip_rest(&mut object)?;
                break;
            }
            object.next_value::<IgnoredAny>()?;
        }
        Ok(Found::Expected)
    }
}
