//! A batch as JSON text, without blanks. Not for reading: see `decode`.

use serde::Serialize;
use tidegauge_model::{Batch, DropNotice, Point, Tag, Value};

/// Below this, every whole number is a double of its own, and is written without a point.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

pub(super) fn encode(batch: &Batch, into: &mut Vec<u8>) {
    write(into, "{\"v\":");
    json(into, &super::VERSION);
    if let Some(origin) = &batch.origin {
        write(into, ",\"agent\":");
        json(into, origin.agent.as_str());
        write(into, ",\"epoch\":");
        json(into, &origin.epoch);
        write(into, ",\"sequence\":");
        json(into, &origin.sequence);
    }
    write(into, ",\"host\":");
    json(into, batch.host.as_str());
    write_tags(into, ",\"labels\":", &batch.labels);
    if !batch.drops.is_empty() {
        write(into, ",\"drops\":[");
        separated(into, &batch.drops, write_drop);
        write(into, "]");
    }
    let kinds = batch.kinds();
    if !kinds.is_empty() {
        write(into, ",\"kinds\":{");
        separated(into, kinds, |into, (measurement, kind)| {
            json(into, measurement.as_str());
            write(into, ":");
            json(into, kind.as_str());
        });
        write(into, "}");
    }
    write(into, ",\"points\":[");
    let points = batch.points.iter().filter(|point| has_fields(point));
    separated(into, points, write_point);
    write(into, "]}");
}

/// Whether a point has anything to write.
pub(super) fn has_fields(point: &Point) -> bool {
    !point.fields().is_empty()
}

fn write_drop(into: &mut Vec<u8>, notice: &DropNotice) {
    write(into, "{\"epoch\":");
    json(into, &notice.epoch);
    write(into, ",\"first\":");
    json(into, &notice.first_sequence);
    write(into, ",\"last\":");
    json(into, &notice.last_sequence);
    write(into, ",\"reason\":");
    json(into, notice.reason.as_str());
    write(into, "}");
}

fn write_point(into: &mut Vec<u8>, point: &Point) {
    write(into, "{\"measurement\":");
    json(into, point.measurement().as_str());
    write(into, ",\"time_us\":");
    json(into, &point.time_us());
    write_tags(into, ",\"tags\":", point.tags());
    write(into, ",\"fields\":{");
    separated(into, point.fields(), |into, (name, value)| {
        json(into, name.as_str());
        write(into, ":");
        write_value(into, value);
    });
    write(into, "}}");
}

fn write_tags(into: &mut Vec<u8>, key: &str, tags: &[Tag]) {
    if tags.is_empty() {
        return;
    }
    write(into, key);
    write(into, "{");
    separated(into, tags, |into, (name, text)| {
        json(into, name.as_str());
        write(into, ":");
        json(into, text.as_ref());
    });
    write(into, "}");
}

fn write_value(into: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Float(number) => {
            let negative_zero = *number == 0.0 && number.is_sign_negative();
            if number.fract() == 0.0 && number.abs() < LARGEST_WHOLE && !negative_zero {
                json(into, &(*number as i64));
            } else {
                json(into, number);
            }
        }
        Value::Bool(truth) => json(into, truth),
        Value::Text(text) => json(into, text.as_ref()),
    }
}

fn separated<T>(
    into: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write_one: impl FnMut(&mut Vec<u8>, T),
) {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            write(into, ",");
        }
        write_one(into, item);
    }
}

fn write(into: &mut Vec<u8>, text: &str) {
    into.extend_from_slice(text.as_bytes());
}

fn json<T: Serialize + ?Sized>(into: &mut Vec<u8>, scalar: &T) {
    serde_json::to_writer(into, scalar).expect("a scalar is always written into a vector");
}
