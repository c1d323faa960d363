//! Whether the files of TLS were replaced: a client reads them when it is made, so another one has to be made then.
//! The program uses it for the client of its sink too.

use std::path::Path;
use std::time::{Duration, Instant};
use tidegauge_kafka::KafkaSettings;
use tidegauge_model::{FileStamp, chain};

/// The files that settings name, as they were looked at last.
#[derive(Debug)]
pub struct TlsFiles {
    settings: KafkaSettings,
    stamps: Vec<Option<FileStamp>>,
    looked: Instant,
    problem: Option<String>,
}

impl TlsFiles {
    /// How often they are looked at.
    pub const LOOK: Duration = Duration::from_secs(2);

    /// The files as they are now. Make the client after it: what is replaced in between is seen at the next look.
    #[must_use]
    pub fn of(settings: &KafkaSettings) -> Self {
        Self {
            settings: settings.clone(),
            stamps: stamps(settings),
            looked: Instant::now(),
            problem: None,
        }
    }

    /// Whether they were replaced since the last look, by others that can be used. Looks at them every
    /// [`Self::LOOK`] at most, and logs what it finds.
    pub fn were_replaced(&mut self) -> bool {
        if self.looked.elapsed() < Self::LOOK {
            return false;
        }
        self.looked = Instant::now();
        let stamps = stamps(&self.settings);
        if stamps == self.stamps {
            return false;
        }
        self.stamps = stamps;
        self.problem = self.settings.check().err().map(|error| chain(&error));
        match &self.problem {
            None => tracing::info!("the files of [kafka.tls] were replaced, connecting anew"),
            Some(error) => {
                tracing::warn!(
                    error,
                    "the files of [kafka.tls] were replaced, and cannot be used"
                );
            }
        }
        self.problem.is_none()
    }

    /// Returns when they were replaced by others that can be used; never where no file is named.
    pub async fn replaced(&mut self) {
        if self.stamps.is_empty() {
            return std::future::pending().await;
        }
        while !self.were_replaced() {
            tokio::time::sleep(Self::LOOK).await;
        }
    }

    /// Why those that are there now cannot be used: half of a pair that was not replaced whole, for example.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

fn stamps(settings: &KafkaSettings) -> Vec<Option<FileStamp>> {
    let stamp = |path: &Path| Some(FileStamp::of(&std::fs::metadata(path).ok()?));
    settings.files().into_iter().map(stamp).collect()
}
