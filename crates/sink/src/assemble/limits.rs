//! What a point must keep to by itself: the limits (D14), and the types of its columns.

use tidegauge_model::{Limits, PointRef, Reason, ValueRef, ValueType};

/// Why a point becomes a dead letter.
pub(super) struct Rejected(pub(super) Reason, pub(super) String);

/// The type that a column got first stays.
pub(super) fn check_types(
    columns: &[(u32, ValueType)],
    point: &PointRef<'_, '_>,
) -> Result<(), Rejected> {
    let mut pairs = columns.iter().zip(point.fields);
    match pairs.find(|((_, kept), (_, value))| value.value_type() != *kept) {
        None => Ok(()),
        Some(((_, kept), (name, value))) => {
            let found = value.value_type();
            let detail = format!("field {name} is {kept}, this value is {found}");
            Err(Rejected(Reason::TypeConflict, detail))
        }
    }
}

pub(super) fn check_limits(
    limits: &Limits,
    now_us: i64,
    point: &PointRef<'_, '_>,
) -> Result<(), Rejected> {
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
