//! Warnings and errors that say the very same thing again: the first is written, those that follow
//! within [`WINDOW`] are counted, and then how many there were is written.
//!
//! The counts are written by a thread that is there only while there are some, because nothing may be
//! logged from inside of a layer.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How long repeats are counted after the first one.
const WINDOW: Duration = Duration::from_secs(60);
/// Different texts that are known at the same time; what is beyond that is written.
const MOST_TEXTS: usize = 1_000;
/// The target of the lines that tell the counts; they are never counted themselves.
const TARGET: &str = "tidegauge::repeats";

/// Lets the first of several repeats through.
#[derive(Debug, Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    said: HashMap<(Level, String), Said>,
    is_telling: bool,
}

#[derive(Debug)]
struct Said {
    first: Instant,
    more: u64,
}

impl Repeats {
    /// Whatever panicked, the counts are whole.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the counts whenever a window ends, until there are none.
    fn tell(&self) {
        let repeats = self.clone();
        let telling = std::thread::Builder::new().name("log-repeats".to_owned());
        let telling = telling.spawn(move || {
            loop {
                std::thread::sleep(WINDOW);
                let (ended, is_last) = repeats.lock().ended(Instant::now());
                for (level, text, times) in ended {
                    if level == Level::ERROR {
                        tracing::error!(target: TARGET, times, "again, within {WINDOW:?}: {text}");
                    } else {
                        tracing::warn!(target: TARGET, times, "again, within {WINDOW:?}: {text}");
                    }
                }
                if is_last {
                    return;
                }
            }
        });
        // Without the thread the counts are not told; what they count was written once.
        if telling.is_err() {
            self.lock().is_telling = false;
        }
    }
}

impl Counts {
    /// Whether a text is to be written, and whether somebody must tell the counts from now on.
    fn take(&mut self, level: Level, text: String, now: Instant) -> (bool, bool) {
        let key = (level, text);
        if let Some(said) = self.said.get_mut(&key)
            && (said.more > 0 || now.duration_since(said.first) < WINDOW)
        {
            said.more += 1;
            let begins = !std::mem::replace(&mut self.is_telling, true);
            return (false, begins);
        }
        if self.said.len() >= MOST_TEXTS {
            self.said
                .retain(|_, said| said.more > 0 || now.duration_since(said.first) < WINDOW);
        }
        if self.said.len() < MOST_TEXTS {
            let said = Said {
                first: now,
                more: 0,
            };
            self.said.insert(key, said);
        }
        (true, false)
    }

    /// The texts whose window has ended, with how often they were repeated, and whether there are no
    /// repeats left.
    fn ended(&mut self, now: Instant) -> (Vec<(Level, String, u64)>, bool) {
        let over = |said: &Said| now.duration_since(said.first) >= WINDOW;
        let ended = self.said.extract_if(|_, said| over(said));
        let ended = ended.filter(|(_, said)| said.more > 0);
        let ended = ended
            .map(|((level, text), said)| (level, text, said.more))
            .collect();
        self.is_telling = self.said.values().any(|said| said.more > 0);
        (ended, !self.is_telling)
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == TARGET {
            return true;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let (is_new, begins) = self.lock().take(*metadata.level(), text.0, Instant::now());
        if begins {
            self.tell();
        }
        is_new
    }
}

/// All that an event says.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let gap = if self.0.is_empty() { "" } else { " " };
        let written = match field.name() {
            "message" => write!(self.0, "{gap}{value:?}"),
            name => write!(self.0, "{gap}{name}={value:?}"),
        };
        written.expect("into memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn the_first_is_said_and_then_how_many_there_were() {
        let (mut counts, begin) = (Counts::default(), Instant::now());
        let mut take = |text: &str, seconds| {
            counts.take(
                Level::WARN,
                text.to_owned(),
                begin + Duration::from_secs(seconds),
            )
        };
        assert_eq!(take("a", 0), (true, false));
        assert_eq!(take("b", 0), (true, false));
        assert_eq!(take("a", 1), (false, true), "somebody must tell it");
        assert_eq!(take("a", 59), (false, false));
        assert_eq!(take("b", 61), (true, false), "its window is over");
        let (ended, is_last) = counts.ended(begin + Duration::from_secs(61));
        assert_eq!(ended, [(Level::WARN, "a".to_owned(), 2)]);
        assert!(is_last);
        assert_eq!(
            counts.take(Level::WARN, "a".to_owned(), begin + WINDOW * 2),
            (true, false)
        );
    }

    #[test]
    fn texts_beyond_the_bound_are_said_each_time_d11() {
        let (mut counts, now) = (Counts::default(), Instant::now());
        for number in 0..MOST_TEXTS + 10 {
            assert_eq!(
                counts.take(Level::ERROR, number.to_string(), now),
                (true, false)
            );
        }
        assert_eq!(counts.said.len(), MOST_TEXTS);
        assert_eq!(
            counts.take(Level::ERROR, (MOST_TEXTS + 5).to_string(), now),
            (true, false)
        );
        assert_eq!(
            counts.take(Level::ERROR, "5".to_owned(), now),
            (false, true)
        );
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_what_is_the_same_in_every_field_is_a_repeat() {
        let written = Written::default();
        let (writer, repeats) = (written.clone(), Repeats::default());
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer).with(repeats);
        tracing::subscriber::with_default(subscriber, || {
            for round in 0..3 {
                tracing::warn!(host = "a", "it is away");
                tracing::warn!(host = "b", "it is away");
                tracing::error!(host = "a", "it is away");
                tracing::info!("it goes on");
                tracing::warn!(round, "it is late");
            }
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        for (text, times) in [("it is away", 3), ("it goes on", 3), ("it is late", 3)] {
            assert_eq!(written.matches(text).count(), times, "{text} in\n{written}");
        }
    }
}
