//! What a certificate says of itself, as fields of a result, and when a check tells it again: when it is
//! another one than before, and once a day. In between a database would be filled with the same texts.

use super::exchange::Progress;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Mutex, PoisonError};
use tidegauge_model::{Clock, name};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How often the same is told.
const AGAIN_AFTER_US: i64 = 24 * 3_600 * 1_000_000;

/// Keyed anew in every process, so that no server can choose certificates of one mark.
static MARKS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Adds what a certificate says, and whether it is trusted, to a result.
pub(super) fn tell(leaf: &CertificateDer<'_>, verified: bool, progress: &mut Progress) {
    progress.found(name!("verified"), verified);
    let mut fingerprint = String::with_capacity(64);
    for byte in Sha256::digest(leaf) {
        // Writing to a text does not fail.
        write!(fingerprint, "{byte:02x}").ok();
    }
    progress.found(name!("fingerprint_sha256"), fingerprint);
    if let Ok((_, leaf)) = X509Certificate::from_der(leaf) {
        progress.found_text(name!("issuer"), &leaf.issuer().to_string());
        progress.found_text(name!("subject"), &leaf.subject().to_string());
        progress.found_text(name!("names"), &names(&leaf).join(", "));
    }
}

/// The names and addresses that a certificate is for.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extensions = certificate.extensions().iter();
    let general = extensions.filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    };
    general.flatten().filter_map(text).collect()
}

/// A certificate that has to be told with the result.
pub(super) struct News {
    leaf: CertificateDer<'static>,
    verified: bool,
    mark: u64,
}

/// The certificate that a target's results told last.
#[derive(Default)]
pub(super) struct LastTold(Mutex<Option<Told>>);

struct Told {
    mark: u64,
    time_us: i64,
}

impl LastTold {
    /// The certificate, if it has to be told now. It costs one hash where it has not.
    pub(super) fn news(
        &self,
        leaf: Option<&CertificateDer<'_>>,
        verified: bool,
        clock: &dyn Clock,
    ) -> Option<Box<News>> {
        let leaf = leaf?;
        let mark = MARKS.hash_one((leaf.as_ref(), verified));
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.as_ref().filter(|last| last.mark == mark);
        // A clock that was set back begins a new day.
        let since_us = known.map(|known| clock.now_us() - known.time_us);
        if since_us.is_some_and(|since_us| (0..AGAIN_AFTER_US).contains(&since_us)) {
            return None;
        }
        Some(Box::new(News {
            leaf: leaf.clone().into_owned(),
            verified,
            mark,
        }))
    }

    /// Tells a certificate with a result.
    pub(super) fn tell(&self, news: &News, progress: &mut Progress, clock: &dyn Clock) {
        tell(&news.leaf, news.verified, progress);
        let told = Told {
            mark: news.mark,
            time_us: clock.now_us(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }
}
