//! What a person can do when no connection to a server is made: what drivers and TLS say of it, and what it means.
//!
//! Not a classification: all of it is an outage. What is not known here stays as the driver says it.

use crate::{ErrorClass, StoreError};
use std::error::Error;
use tidegauge_model::chain;

/// How a kind of database names what its URL says of TLS.
pub(crate) struct Names {
    /// The file of authorities.
    pub(crate) authorities: &'static str,
    /// The program's own certificate.
    pub(crate) certificate: &'static str,
    /// Its key.
    pub(crate) key: &'static str,
    /// The parameter that goes without TLS.
    pub(crate) without: &'static str,
}

/// Parts of what is said, and what to do. `AUTHORITIES`, `CERTIFICATE`, `KEY` and `WITHOUT` stand for the names.
const MEANINGS: &[(&str, &str)] = &[
    (
        "UnknownIssuer",
        "its authority is not in the file of AUTHORITIES (without it: among the system's); name the file that the database's administrator gives",
    ),
    (
        "not valid for name",
        "name the database in store.url as its certificate does",
    ),
    (
        "NotValidForName",
        "name the database in store.url as its certificate does",
    ),
    (
        "invalid dns name",
        "no certificate can have such a name: name the database in store.url as its certificate does",
    ),
    (
        "peer certificate: certificate expired",
        "have a new certificate made for the database, or look at this host's clock",
    ),
    (
        "fatal alert: UnknownCA",
        "the database does not trust the authority of our certificate (CERTIFICATE): have one made by the authority that its administrator names",
    ),
    (
        "fatal alert: CertificateExpired",
        "the database says that our certificate (CERTIFICATE) has expired: have a new one made, or look at both clocks",
    ),
    (
        "fatal alert: CertificateRequired",
        "the database asks for a certificate of ours: say CERTIFICATE and KEY in store.url",
    ),
    (
        "fatal alert: ",
        "the database refuses TLS as store.url asks for it: look at our certificate (CERTIFICATE), and at the database's log",
    ),
    (
        "does not support TLS",
        "turn TLS on at the server; in a network that you trust WITHOUT goes without",
    ),
    (
        "Client asked for SSL but server does not have this capability",
        "turn TLS on at the server; in a network that you trust WITHOUT goes without",
    ),
    (
        "password missing",
        "the server asks for a password: say store.password_file",
    ),
    (
        "channel binding",
        "channel_binding=require in store.url needs TLS and a role that has a password by SCRAM: say sslmode=verify-full, and look at the server's pg_hba and password_encryption",
    ),
    (
        "Connection refused",
        "nothing listens there: is the database up, and are host and port of store.url right?",
    ),
    (
        "failed to lookup address",
        "look at the host in store.url and at this host's DNS",
    ),
];

/// What an error says with its causes, and what to do about it; `None` if that is not known.
pub(crate) fn explained(error: &(dyn Error + 'static), names: &Names) -> Option<String> {
    let said = chain(error);
    let (_, what) = MEANINGS.iter().find(|(part, _)| said.contains(part))?;
    let what = what
        .replace("AUTHORITIES", names.authorities)
        .replace("CERTIFICATE", names.certificate)
        .replace("KEY", names.key)
        .replace("WITHOUT", names.without);
    Some(format!("{said}; {what}"))
}

/// The error of a connection that was not made in time.
pub(crate) fn nobody_answers(doing: &'static str) -> StoreError {
    StoreError::new(doing, ErrorClass::Outage)
        .caused_by("no answer within the deadline; is there a firewall in between?")
        .rolled_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names {
        authorities: "ssl-ca",
        certificate: "ssl-cert",
        key: "ssl-key",
        without: "ssl-mode=disabled",
    };

    #[test]
    fn what_is_known_is_said_with_the_names_of_the_kind() {
        let said = |text: &str| explained(&std::io::Error::other(text.to_owned()), &NAMES);
        assert_eq!(
            said("received fatal alert: CertificateRequired").as_deref(),
            Some(
                "received fatal alert: CertificateRequired; the database asks for a certificate of ours: say ssl-cert and ssl-key in store.url"
            )
        );
        assert_eq!(said("the moon is full"), None);
    }
}
