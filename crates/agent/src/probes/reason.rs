//! How a check ended: a closed list, the same for all probes.

use std::fmt;

macro_rules! reasons {
    ($($variant:ident $word:literal $text:literal,)+) => {
        /// How a check ended. The words are kept in the database, so they never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum CheckReason {
            $(#[doc = $text] $variant,)+
        }

        impl CheckReason {
            /// All reasons, in the order of the phases.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word in the field `reason`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// One sentence for a person.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

reasons! {
    Ok "ok" "The target answered as expected.",
    ResolveFailed "resolve_failed" "The name could not be looked up, or has no address.",
    ConnectRefused "connect_refused" "Nothing listens on that port.",
    ConnectTimeout "connect_timeout" "No connection came about in time.",
    Unreachable "unreachable" "There is no way to the address.",
    TlsHandshake "tls_handshake" "The TLS handshake failed for another reason than the certificate.",
    ProtocolVersion "protocol_version" "The server does not speak the protocol, or the version of it, that is asked for.",
    CertificateExpired "certificate_expired" "The server's certificate has expired.",
    CertificateNotYetValid "certificate_not_yet_valid" "The server's certificate is not valid yet.",
    CertificateName "certificate_name" "The server's certificate is for other names.",
    CertificateUntrusted "certificate_untrusted" "The server's certificate does not lead to a trusted authority, or breaks a rule.",
    CertificateExpiresSoon "certificate_expires_soon" "The server's certificate, or one of its chain, expires sooner than is allowed.",
    StarttlsRefused "starttls_refused" "The server does not begin TLS when it is asked to.",
    LoginFailed "login_failed" "The server does not let the user in; the detail says what it said.",
    QueryFailed "query_failed" "The database refuses the query; the detail says what it said.",
    NotPermitted "not_permitted" "The agent may not do this check; the detail says what to change.",
    ConnectionLost "connection_lost" "The server closed the connection before its answer was complete.",
    Protocol "protocol" "What the server sent is not the protocol.",
    Deadline "deadline" "The check was not done in time; the detail says in which phase it was.",
    Status "status" "The answer has a status that was not expected.",
    BodyMismatch "body_mismatch" "The pattern is not in the body, or the one that must be absent is.",
    TooLarge "too_large" "The answer is longer than is allowed, or than what is read of it, and what is expected is not in that.",
    AnswerMismatch "answer_mismatch" "The answer is not the one that is expected.",
    TooSmall "too_small" "The answer is shorter than is expected.",
    HeaderMismatch "header_mismatch" "A header of the answer is missing, or is not as expected.",
    RedirectLoop "redirect_loop" "Redirects lead in a circle, or there are more of them than are followed.",
    RedirectRefused "redirect_refused" "A redirect leads to where none may lead; the detail says where.",
    ProxyRefused "proxy_refused" "The proxy does not open the way to the target.",
    TooSlow "too_slow" "The answer is as expected, but came later.",
    NotServing "not_serving" "The service says that it is not ready.",
    PacketLoss "packet_loss" "More packets were lost than is allowed.",
    Missing "missing" "The job has not called for longer than it may.",
}

impl fmt::Display for CheckReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_labels_and_there_once() {
        let words: std::collections::BTreeSet<_> = CheckReason::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        assert_eq!(words.len(), CheckReason::ALL.len());
        assert!(
            words
                .iter()
                .all(|word| tidegauge_model::Name::check(word).is_ok())
        );
    }

    #[test]
    fn the_user_page_lists_every_reason() {
        let page = include_str!("../../../../docs/checks.md");
        for reason in CheckReason::ALL {
            let row = format!("| `{reason}` | {} |", reason.description());
            assert!(page.contains(&row), "docs/checks.md lacks the row {row}");
        }
    }
}
