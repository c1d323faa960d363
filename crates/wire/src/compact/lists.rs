//! The lists of a block, and the values in them. Not the points: `decode` puts those together.

use super::column;
use super::reader::{Read, Reader, fault};
use tidegauge_model::Reason;

/// The lists of a block.
#[derive(Debug)]
pub(super) struct Lists<'a> {
    pub(super) times: Reader<'a>,
    pub(super) tags: Reader<'a>,
    pub(super) kinds: Reader<'a>,
    decimals: Reader<'a>,
    doubles: Reader<'a>,
    truths: Reader<'a>,
    pub(super) texts: Reader<'a>,
}

impl<'a> Lists<'a> {
    const fn new(nothing: Reader<'a>) -> Self {
        Self {
            times: nothing,
            tags: nothing,
            kinds: nothing,
            decimals: nothing,
            doubles: nothing,
            truths: nothing,
            texts: nothing,
        }
    }

    /// The index of the shape of a block, and its lists.
    pub(super) fn read(reader: &mut Reader<'a>) -> Read<(u64, Self)> {
        let mut shape = 0;
        let mut lists = Self::new(reader.nothing());
        while let Some(field) = reader.field(&[])? {
            match field.number() {
                1 => shape = reader.number(field)?,
                2 => lists.times = reader.stretch(field)?,
                3 => lists.tags = reader.stretch(field)?,
                4 => lists.kinds = reader.stretch(field)?,
                5 => lists.decimals = reader.stretch(field)?,
                6 => lists.doubles = reader.stretch(field)?,
                7 => lists.truths = reader.stretch(field)?,
                8 => lists.texts = reader.stretch(field)?,
                _ => return reader.unknown(field),
            }
        }
        Ok((shape, lists))
    }

    /// Reads the values into `cells` as their bits, row by row; they come column by column.
    pub(super) fn read_cells(&mut self, rows: usize, cells: &mut Vec<u64>) -> Read<()> {
        let kinds = self.kinds.bytes();
        cells.clear();
        cells.resize(rows * kinds.len(), 0);
        // Kept in registers.
        let (mut decimals, mut doubles, mut texts) = (self.decimals, self.doubles, self.texts);
        let mut truths = 0;
        for (column, kind) in kinds.iter().enumerate() {
            let column = cells.iter_mut().skip(column).step_by(kinds.len());
            if let Some(power) = column::power(*kind) {
                for cell in column {
                    *cell = (decimals.zigzag()? as f64 / power).to_bits();
                }
                continue;
            }
            for cell in column {
                *cell = match *kind {
                    column::DOUBLES => doubles.double()?.to_bits(),
                    column::TEXTS => texts.varint()?,
                    column::TRUTHS => {
                        let Some(byte) = self.truths.bytes().get(truths / 8) else {
                            let detail = "there are too few truth values";
                            return Err(fault(Reason::Syntax, self.truths.at(), detail));
                        };
                        let truth = byte >> (truths % 8) & 1;
                        truths += 1;
                        truth.into()
                    }
                    kind => {
                        let detail = format!("there is no kind {kind} of columns");
                        return Err(fault(Reason::Syntax, self.kinds.at(), detail));
                    }
                };
            }
        }
        if self.truths.bytes().len() != usize::div_ceil(truths, 8) {
            self.truths.end("truth values")?;
        }
        (self.decimals, self.doubles, self.texts) = (decimals, doubles, texts);
        decimals.end("decimals")?;
        doubles.end("doubles")?;
        texts.end("texts")
    }
}
