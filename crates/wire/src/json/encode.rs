//! A batch as JSON text, without blanks. Not for reading: see `decode`.

use tidegauge_model::{Batch, DropNotice, Name, Point, Tag, Value};

/// Below this, every whole number is a double of its own, and is written without a point.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

pub(super) fn encode(batch: &Batch, into: &mut Vec<u8>) {
    write(into, "{\"v\":");
    write_integer(into, super::VERSION);
    if let Some(origin) = &batch.origin {
        write(into, ",\"agent\":");
        write_text(into, origin.agent.as_str());
        write(into, ",\"epoch\":");
        write_integer(into, origin.epoch);
        write(into, ",\"sequence\":");
        write_integer(into, origin.sequence);
    }
    write(into, ",\"host\":");
    write_text(into, batch.host.as_str());
    write_tags(into, ",\"labels\":", &batch.labels);
    if !batch.drops.is_empty() {
        write(into, ",\"drops\":[");
        separated(into, &batch.drops, write_drop);
        write(into, "]");
    }
    let kinds = batch.kinds();
    if !kinds.is_empty() {
        write(into, ",\"kinds\":{");
        members(into, kinds, |into, kind| write_text(into, kind.as_str()));
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
    write_integer(into, notice.epoch);
    write(into, ",\"first\":");
    write_integer(into, notice.first_sequence);
    write(into, ",\"last\":");
    write_integer(into, notice.last_sequence);
    write(into, ",\"reason\":");
    write_text(into, notice.reason.as_str());
    write(into, "}");
}

fn write_point(into: &mut Vec<u8>, point: &Point) {
    write(into, "{\"measurement\":");
    write_text(into, point.measurement().as_str());
    write(into, ",\"time_us\":");
    write_integer(into, point.time_us());
    write_tags(into, ",\"tags\":", point.tags());
    write(into, ",\"fields\":{");
    let fields = point.fields().iter().map(|(name, value)| (name, value));
    members(into, fields, write_value);
    write(into, "}}");
}

fn write_tags(into: &mut Vec<u8>, key: &str, tags: &[Tag]) {
    if tags.is_empty() {
        return;
    }
    write(into, key);
    write(into, "{");
    let tags = tags.iter().map(|(name, text)| (name, text));
    members(into, tags, |into, text| write_text(into, text));
    write(into, "}");
}

fn write_value(into: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Float(number) => write_number(into, *number),
        Value::Bool(true) => write(into, "true"),
        Value::Bool(false) => write(into, "false"),
        Value::Text(text) => write_text(into, text),
    }
}

#[inline]
fn write_number(into: &mut Vec<u8>, number: f64) {
    let whole = number as i64;
    let is_negative_zero = whole == 0 && number.is_sign_negative();
    // The conversion cuts off what is behind the point, and is cheaper than to ask for that.
    if whole as f64 == number && number.abs() < LARGEST_WHOLE && !is_negative_zero {
        write_integer(into, whole);
    } else if number.is_finite() {
        write(into, zmij::Buffer::new().format_finite(number));
    } else {
        write(into, "null");
    }
}

#[inline]
fn write_integer(into: &mut Vec<u8>, number: impl itoa::Integer) {
    write(into, itoa::Buffer::new().format(number));
}

fn write_text(into: &mut Vec<u8>, text: &str) {
    let needs_escape = |byte| matches!(byte, 0..=0x1f | b'"' | b'\\');
    if text.bytes().any(needs_escape) {
        serde_json::to_writer(into, text).expect("a text is always written into a vector");
        return;
    }
    write(into, "\"");
    write(into, text);
    write(into, "\"");
}

/// Names and what belongs to each. No sign of a name needs an escape.
fn members<'a, T>(
    into: &mut Vec<u8>,
    members: impl IntoIterator<Item = (&'a Name, T)>,
    mut write_one: impl FnMut(&mut Vec<u8>, T),
) {
    for (at, (name, value)) in members.into_iter().enumerate() {
        match at {
            0 => write(into, "\""),
            _ => write(into, ",\""),
        }
        write(into, name.as_str());
        write(into, "\":");
        write_one(into, value);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut into = Vec::new();
        write(&mut into);
        String::from_utf8(into).expect("JSON is text")
    }

    fn by_serde<T: serde::Serialize + ?Sized>(scalar: &T) -> String {
        serde_json::to_string(scalar).expect("a scalar")
    }

    #[test]
    fn texts_are_escaped_as_serde_does_it() {
        let all: String = (0..=0x24f).filter_map(char::from_u32).collect();
        assert_eq!(written(|into| write_text(into, &all)), by_serde(&all));
        for sign in all
            .chars()
            .map(String::from)
            .chain(["".into(), "a😀\u{2028}".into()])
        {
            assert_eq!(written(|into| write_text(into, &sign)), by_serde(&sign));
        }
    }

    #[test]
    fn a_number_is_an_integer_where_that_is_the_same_double() {
        let near = |number: f64| [number.next_down(), number, number.next_up()];
        let numbers = [
            0.0,
            0.1,
            0.5,
            1.0,
            99.999,
            1e9,
            4.5e15,
            LARGEST_WHOLE,
            1e16,
            9.3e18,
            1e300,
            f64::MAX,
        ];
        for number in numbers
            .into_iter()
            .flat_map(near)
            .flat_map(|number| [number, -number])
        {
            let is_whole = number.fract() == 0.0 && number.abs() < LARGEST_WHOLE;
            let expected = match is_whole && number.to_bits() != (-0.0_f64).to_bits() {
                true => by_serde(&(number as i64)),
                false => by_serde(&number),
            };
            assert_eq!(written(|into| write_number(into, number)), expected);
        }
        assert_eq!(written(|into| write_number(into, f64::NAN)), "null");
    }
}
