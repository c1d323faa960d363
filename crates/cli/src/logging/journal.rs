//! For systemd's journal: entries by its own protocol, and where it does not listen to them lines: each begins
//! with its priority (sd-daemon(3)), which the journal takes off and keeps as a field; the time is the journal's own.

#[cfg(target_os = "linux")]
mod entries;

#[cfg(target_os = "linux")]
pub(super) use entries::Entries;

use rustix::fs::fstat;
use std::fmt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Whether stderr is the stream that the journal reads, as `JOURNAL_STREAM` tells it (systemd.exec(5)): a
/// program whose stderr was sent elsewhere has inherited the variable only.
pub(super) fn has_stderr(journal_stream: Option<&str>) -> bool {
    let numbers = journal_stream.and_then(|text| text.split_once(':'));
    let (Some((device, inode)), Ok(stderr)) = (numbers, fstat(std::io::stderr())) else {
        return false;
    };
    device.parse() == Ok(stderr.st_dev) && inode.parse() == Ok(stderr.st_ino)
}

/// Puts the priority before every line of another format.
pub(super) struct Prioritised<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0
            .format_event(context, Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        // Each line is an entry of its own.
        text.lines()
            .try_for_each(|line| writeln!(writer, "<{priority}>{}", line.trim_start()))
    }
}

/// The level of syslog(3).
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_has_its_priority() {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .map_event_format(Prioritised);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::error!("one\ntwo");
            tracing::warn!(host = "a", "three");
            tracing::info!("four");
            tracing::debug!("five");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let expected =
            "<3>ERROR one\n<3>two\n<4>WARN three host=\"a\"\n<6>INFO four\n<7>DEBUG five\n";
        assert_eq!(written, expected);
    }

    #[test]
    fn only_the_very_stream_of_the_variable_is_the_journal() {
        for stream in [None, Some(""), Some("1"), Some("a:b"), Some("0:0")] {
            assert!(!has_stderr(stream), "{stream:?}");
        }
        let stderr = fstat(std::io::stderr()).unwrap();
        let (device, inode) = (stderr.st_dev, stderr.st_ino);
        assert!(has_stderr(Some(&format!("{device}:{inode}"))));
        assert!(!has_stderr(Some(&format!("{device}:{}", inode + 1))));
    }
}
