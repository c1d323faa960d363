//! A batch as a message of the schema. Not for reading: see `decode`.

use super::{column, message, words};
use prost::Message;
use std::collections::HashMap;
use std::mem::discriminant;
use tidegauge_model::{Batch, DropNotice, Point, Value};

pub(super) fn encode(batch: &Batch, into: &mut Vec<u8>) {
    let mut texts = Texts::default();
    let mut labels = Vec::with_capacity(batch.labels.len() * 2);
    for (name, text) in &batch.labels {
        labels.extend([texts.index(name.as_str()), texts.index(text)]);
    }
    let mut shapes = Vec::new();
    let mut indexes = HashMap::new();
    let points: Vec<&Point> = batch
        .points
        .iter()
        .filter(|p| !p.fields().is_empty())
        .collect();
    let mut time_us = 0;
    let blocks = points.chunk_by(|a, b| are_alike(a, b)).map(|run| {
        let shape = shape_of(run[0], &mut texts);
        let shape = *indexes.entry(shape).or_insert_with_key(|shape| {
            shapes.push(shape.clone());
            shapes.len() as u32 - 1
        });
        block_of(run, shape, &mut time_us, &mut texts)
    });
    let blocks = blocks.collect();
    let mut kinds = Vec::new();
    for (measurement, kind) in batch.kinds() {
        let place = super::KINDS.iter().take_while(|known| **known != kind);
        kinds.extend([texts.index(measurement.as_str()), place.count() as u32]);
    }
    let message = message::Batch {
        version: super::VERSION,
        origin: batch.origin.as_ref().map(|origin| message::Origin {
            agent: origin.agent.as_str().to_owned(),
            epoch: origin.epoch.cast_unsigned(),
            sequence: origin.sequence,
        }),
        host: batch.host.as_str().to_owned(),
        texts: texts.list,
        labels,
        drops: batch.drops.iter().map(drop_of).collect(),
        shapes,
        blocks,
        kinds,
    };
    message.encode(into).expect("a vector has room for all");
}

fn drop_of(notice: &DropNotice) -> message::Drop {
    let known = super::DROP_REASONS.iter();
    let place = known.take_while(|known| **known != notice.reason).count();
    message::Drop {
        epoch: notice.epoch.cast_unsigned(),
        first: notice.first_sequence,
        last: notice.last_sequence,
        reason: place as u32 + 1,
    }
}

/// Whether two points can be in one block: names and types are the same, in the same order.
fn are_alike(a: &Point, b: &Point) -> bool {
    a.measurement() == b.measurement()
        && a.tags()
            .iter()
            .map(|tag| &tag.0)
            .eq(b.tags().iter().map(|tag| &tag.0))
        && a.fields().len() == b.fields().len()
        && (a.fields().iter().zip(b.fields()))
            .all(|(a, b)| a.0 == b.0 && discriminant(&a.1) == discriminant(&b.1))
}

fn shape_of<'b>(point: &'b Point, texts: &mut Texts<'b>) -> message::Shape {
    message::Shape {
        measurement: texts.index(point.measurement().as_str()),
        tags: point
            .tags()
            .iter()
            .map(|tag| texts.index(tag.0.as_str()))
            .collect(),
        fields: point
            .fields()
            .iter()
            .map(|field| texts.index(field.0.as_str()))
            .collect(),
    }
}

/// The points of one run; `time_us` is the time of the point before, and becomes that of the last.
fn block_of<'b>(
    run: &[&'b Point],
    shape: u32,
    time_us: &mut i64,
    texts: &mut Texts<'b>,
) -> message::Block {
    let mut block = message::Block {
        shape,
        ..message::Block::default()
    };
    for point in run {
        // A difference that does not fit wraps around, and so does the sum of the reader.
        let before = std::mem::replace(time_us, point.time_us());
        block.times.push(point.time_us().wrapping_sub(before));
        block
            .tags
            .extend(point.tags().iter().map(|tag| texts.index(&tag.1)));
    }
    let mut truths = 0;
    for column in 0..run[0].fields().len() {
        let values = run.iter().map(|point| &point.fields()[column].1);
        let numbers = values.clone().filter_map(|value| match value {
            Value::Float(number) => Some(*number),
            _ => None,
        });
        let kind = match &run[0].fields()[column].1 {
            Value::Float(_) => column::kind_of(numbers.clone()),
            Value::Bool(_) => column::TRUTHS,
            Value::Text(_) => column::TEXTS,
        };
        block.kinds.push(kind);
        match column::power(kind) {
            Some(power) => {
                let decimals = numbers.filter_map(|number| column::decimal(number, power));
                block.decimals.extend(decimals);
            }
            None => block.doubles.extend(numbers),
        }
        for value in values {
            match value {
                Value::Float(_) => {}
                Value::Bool(truth) => {
                    if truths % 8 == 0 {
                        block.truths.push(0);
                    }
                    block.truths[truths / 8] |= u8::from(*truth) << (truths % 8);
                    truths += 1;
                }
                Value::Text(text) => block.texts.push(texts.index(text)),
            }
        }
    }
    block
}

/// The texts of a batch, each once.
#[derive(Debug, Default)]
struct Texts<'b> {
    indexes: HashMap<&'b str, u32>,
    list: Vec<String>,
}

impl<'b> Texts<'b> {
    fn index(&mut self, text: &'b str) -> u32 {
        if let Some(index) = words::index_of(text) {
            return index;
        }
        *self.indexes.entry(text).or_insert_with(|| {
            self.list.push(text.to_owned());
            (words::COUNT + self.list.len() - 1) as u32
        })
    }
}
