//! Rows of a step as the data of LOAD DATA LOCAL, which the server reads in less time than INSERT.
//!
//! LOAD DATA LOCAL goes on where INSERT fails: what a column does not take is changed, and a row
//! whose key is there is left out, each with a warning. So it counts only if the server took all
//! rows and warned of nothing; otherwise everything is taken back to a savepoint, and INSERT
//! says what repeats and which row is refused (D6, D7). A server that refuses the statement is
//! believed until the program ends.
//!
//! The statement makes the server ask for a file, and a server may ask for one whenever it likes
//! (MySQL manual, "Security Considerations for LOAD DATA LOCAL"). No file is ever read here: the
//! answer is an [`Offer`], which holds the data of the statement under way, goes under a name that was
//! made for that statement, and is taken once. A server that asks for anything else gets nothing, and
//! the connection ends.

use super::connect::{Answer, Session};
use super::errors;
use super::rows::columns_with_values;
use super::values::{
    TIMES_US, data_table, push_bare_float, push_bare_time, push_field, push_integer, quoted,
};
use crate::{ErrorClass, RowBlock, StoreError};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use mysql_async::{InfileData, LocalInfileError};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tidegauge_model::ValueType;
use tokio::sync::mpsc;

/// Data is handed over in pieces of about so many bytes.
const PIECE_BYTES: usize = 256 << 10;

/// Pieces that wait for the connection; the next one is not made before there is room.
const PIECES_WAITING: usize = 2;

/// Whether rows are loaded; shared by the connections of one store.
#[derive(Debug, Clone)]
pub(super) struct Loads {
    /// Fewer rows are one INSERT.
    least_rows: usize,
    is_refused: Arc<AtomicBool>,
    /// Names of files that were made up.
    names: Arc<AtomicU64>,
}

impl From<usize> for Loads {
    fn from(least_rows: usize) -> Self {
        Self {
            least_rows,
            is_refused: Arc::default(),
            names: Arc::default(),
        }
    }
}

impl Loads {
    /// For connections that write nothing.
    pub(super) fn never() -> Self {
        Self::from(usize::MAX)
    }
}

/// Whether the rows are to be loaded.
pub(super) fn is_worth_it(session: &Session, rows: usize) -> bool {
    let loads = &session.loads;
    rows >= loads.least_rows && !loads.is_refused.load(Ordering::Relaxed)
}

/// Loads rows that have different keys; false: not all of them could be written as they are, and
/// none was.
pub(super) async fn all_were_loaded(
    session: &mut Session,
    doing: &str,
    block: &RowBlock,
    rows: &[u32],
) -> Result<bool, StoreError> {
    let is_in_range = |&row: &u32| TIMES_US.contains(&block.key(row as usize).time_us);
    if !rows.iter().all(is_in_range) {
        return Err(errors::time_out_of_range());
    }
    let columns = columns_with_values(block);
    let number = session.loads.names.fetch_add(1, Ordering::Relaxed);
    let file = format!("tidegauge-rows-{number}");
    let sql = statements(block, &columns, &file);
    let data = Data {
        block,
        rows,
        columns: &columns,
    };
    let wanted = Answer {
        rows: rows.len() as u64,
        warnings: 0,
    };
    match session.load(doing, &sql, &file, data).await {
        Ok(loaded) if loaded == wanted => return Ok(true),
        Ok(loaded) => tracing::debug!(
            measurement = block.measurement().name,
            rows = rows.len(),
            loaded = loaded.rows,
            warnings = loaded.warnings,
            "not all rows could be loaded as they are; inserting them"
        ),
        Err(error) if is_refusal(&error) => {
            if !session.loads.is_refused.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "the server takes no LOAD DATA LOCAL (`local_infile` is off): rows go in by \
                     INSERT, which takes more of its time; start again after it is on"
                );
            }
            return Ok(false);
        }
        // INSERT finds out which row it is.
        Err(error) if error.class() == ErrorClass::Data => {}
        Err(error) => return Err(error),
    }
    let back = "rollback to savepoint `rows`";
    session.execute(doing, back).await.map(|_| false)
}

fn is_refusal(error: &StoreError) -> bool {
    let code = error.code();
    code.is_some_and(|code| errors::LOAD_IS_REFUSED.contains(&code))
}

/// A savepoint, and the statement. The form of the data is written out, so that no setting of the
/// server is relied on.
fn statements(block: &RowBlock, columns: &[usize], file: &str) -> String {
    let measurement = block.measurement();
    let mut sql = format!(
        "savepoint `rows`;load data local infile '{file}' into table {} character set utf8mb4 \
         fields terminated by '\\t' enclosed by '' escaped by '\\\\' lines terminated by '\\n' \
         (`series_id`, `time`",
        data_table(&measurement.name)
    );
    for &column in columns {
        sql.push_str(", ");
        sql.push_str(&quoted(&measurement.fields[column].name));
    }
    sql.push(')');
    sql
}

/// Rows that become data, piece by piece, while the server takes it.
#[derive(Clone, Copy)]
pub(super) struct Data<'a> {
    block: &'a RowBlock,
    rows: &'a [u32],
    columns: &'a [usize],
}

impl Data<'_> {
    /// Makes all of it, unless nobody wants it any more.
    pub(super) async fn send(self, pieces: mpsc::Sender<Bytes>) {
        let mut rest = self.rows;
        while !rest.is_empty() {
            let (piece, after) = self.piece(rest);
            rest = after;
            if pieces.send(piece.into()).await.is_err() {
                return;
            }
        }
    }

    /// The next piece, and the rows that are not in it.
    fn piece<'r>(&self, mut rest: &'r [u32]) -> (String, &'r [u32]) {
        let mut text = String::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        while let Some((&row, after)) = rest.split_first()
            && text.len() < PIECE_BYTES
        {
            self.push_row(&mut text, row as usize);
            rest = after;
        }
        (text, rest)
    }

    fn push_row(&self, text: &mut String, row: usize) {
        let block = self.block;
        let key = block.key(row);
        push_integer(text, key.series.0.into());
        text.push('\t');
        push_bare_time(text, key.time_us);
        let cells = block.cells(row);
        for &column in self.columns {
            text.push('\t');
            let cell = cells[column];
            if cell.is_null() {
                text.push_str("\\N");
                continue;
            }
            match block.column_type(column) {
                ValueType::Float => push_bare_float(text, cell.as_float()),
                ValueType::Bool => text.push(if cell.as_bool() { '1' } else { '0' }),
                ValueType::Text => push_field(text, block.text(cell)),
            }
        }
        text.push('\n');
    }
}

/// What the server of one connection may ask for.
#[derive(Debug, Clone, Default)]
pub(super) struct Offer(Arc<Mutex<Option<Offered>>>);

#[derive(Debug)]
struct Offered {
    file: String,
    pieces: mpsc::Receiver<Bytes>,
}

impl Offer {
    /// Offers what is sent, under this name alone, in place of what was offered before.
    pub(super) fn make(&self, file: &str) -> mpsc::Sender<Bytes> {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let file = file.to_owned();
        *self.locked() = Some(Offered { file, pieces });
        sender
    }

    /// Offers nothing any more.
    pub(super) fn withdraw(&self) {
        *self.locked() = None;
    }

    /// What is offered under this name. Whoever asks for another name gets nothing, and there is
    /// nothing any more.
    fn take(&self, file: &[u8]) -> Option<mpsc::Receiver<Bytes>> {
        let offered = self.locked().take()?;
        (offered.file.as_bytes() == file).then_some(offered.pieces)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Offered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server asked for what was not offered to it.
#[derive(Debug, thiserror::Error)]
#[error("the server asked for a file that was not offered to it, and got nothing")]
struct NotOffered;

type FileAnswer = Pin<Box<dyn Future<Output = Result<InfileData, LocalInfileError>> + Send>>;

impl mysql_async::prelude::GlobalHandler for Offer {
    fn handle(&self, file: &[u8]) -> FileAnswer {
        let pieces = self.take(file);
        Box::pin(async move {
            let pieces = pieces.ok_or_else(|| LocalInfileError::other(NotOffered))?;
            let next = async |mut pieces: mpsc::Receiver<Bytes>| {
                let piece = pieces.recv().await?;
                Some((Ok(piece), pieces))
            };
            Ok(stream::unfold(pieces, next).boxed())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::rows::tests::block;

    #[test]
    fn rows_are_lines_and_columns_without_values_are_left_out() {
        let block = block(2);
        let columns = columns_with_values(&block);
        let data = Data {
            block: &block,
            rows: &[0, 1],
            columns: &columns,
        };
        let (text, rest) = data.piece(data.rows);
        assert!(rest.is_empty());
        assert_eq!(
            text,
            "7\t1970-01-01 00:00:00.000000\t0.5\t1\tit's\n\
             7\t1970-01-01 00:00:00.000001\t0.5\t0\t\\N\n"
        );
        let sql = statements(&block, &columns, "f");
        assert!(sql.ends_with("(`series_id`, `time`, `a``b`, `up`, `note`)"));
    }

    #[tokio::test]
    async fn the_data_comes_in_pieces_and_ends_when_nobody_wants_it() {
        let block = block(40_000);
        let rows: Vec<u32> = (0..40_000).collect();
        let columns = columns_with_values(&block);
        let data = Data {
            block: &block,
            rows: &rows,
            columns: &columns,
        };
        let offer = Offer::default();
        let sending = data.send(offer.make("f"));
        let mut pieces = offer.take(b"f").expect("offered");
        let reading = async {
            let mut lines = 0;
            while let Some(piece) = pieces.recv().await {
                assert!(piece.len() < PIECE_BYTES + 100 && piece.ends_with(b"\n"));
                lines += piece.split(|byte| *byte == b'\n').count() - 1;
            }
            lines
        };
        assert_eq!(tokio::join!(sending, reading), ((), 40_000));
        let sending = data.send(offer.make("f"));
        let ((), ()) = tokio::join!(sending, async { offer.withdraw() });
    }

    #[test]
    fn a_server_gets_what_is_offered_once_and_by_its_name_d13() {
        let offer = Offer::default();
        assert!(offer.take(b"rows").is_none(), "nothing is offered");
        let _sender = offer.make("rows");
        assert!(offer.clone().take(b"rows").is_some());
        assert!(offer.take(b"rows").is_none(), "once");
        for other in [&b"/etc/passwd"[..], b"rows/", b"", b"ROWS"] {
            let _sender = offer.make("rows");
            assert!(offer.take(other).is_none(), "{other:?}");
            assert!(offer.take(b"rows").is_none(), "a liar gets nothing else");
        }
        let _sender = offer.make("rows");
        offer.withdraw();
        assert!(offer.take(b"rows").is_none(), "withdrawn");
    }
}
