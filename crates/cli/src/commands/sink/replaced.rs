//! Waits until the files of `[kafka.tls]` were replaced by others that can be used: a client reads them when it is
//! made.

use std::path::Path;
use std::time::Duration;
use tidegauge_kafka::KafkaSettings;
use tidegauge_model::FileStamp;

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The files as they are now.
pub(super) fn stamps(kafka: &KafkaSettings) -> Vec<Option<FileStamp>> {
    let stamp = |path: &Path| Some(FileStamp::of(&std::fs::metadata(path).ok()?));
    kafka.files().into_iter().map(stamp).collect()
}

/// Returns when they are not as they were, and fit each other. Half of a pair is told once and waited for. Never
/// returns where no file is named.
pub(super) async fn replaced(kafka: &KafkaSettings, mut before: Vec<Option<FileStamp>>) {
    if before.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK).await;
        let now = stamps(kafka);
        if now == before {
            continue;
        }
        before = now;
        match kafka.check() {
            Ok(()) => {
                tracing::info!("the files of [kafka.tls] were replaced, connecting anew");
                return;
            }
            Err(error) => tracing::warn!(
                error = %error,
                "the files of [kafka.tls] were replaced, and cannot be used"
            ),
        }
    }
}
