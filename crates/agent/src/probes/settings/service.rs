//! Targets that DNS names: `http+srv://_http._tcp.example.org/path` stands for a check of each host and port that
//! the SRV records of that name have (RFC 2782). Priorities and weights are for clients that need one server; a
//! check is wanted of all.

use super::super::AgentError;
use super::super::address::Address;
use super::{CheckSettings, setting};
use std::borrow::Cow;
use tidegauge_model::name;

/// What the scheme ends with.
const ENDING: &str = "+srv";

/// Takes the ending off the scheme; whether it was there.
///
/// # Errors
/// [`AgentError::Setting`] when there is a port, which the records have.
pub(super) fn taken(address: &mut Address) -> Result<bool, AgentError> {
    let Some(scheme) = address.scheme.strip_suffix(ENDING) else {
        return Ok(false);
    };
    if address.port.is_some() {
        let problem = format!("with {ENDING} the port is that of the SRV records: leave it out");
        return Err(setting("url", problem));
    }
    address.scheme = scheme.to_owned();
    Ok(true)
}

impl CheckSettings {
    /// The name whose SRV records have the targets; `None` where the URL is the target.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.is_service.then_some(self.address.host.as_str())
    }

    /// The check of one target of a service: named after its address, with the service as a label.
    ///
    /// # Errors
    /// [`AgentError::Setting`] when the host cannot be one.
    pub fn at(&self, host: &str, port: u16) -> Result<Self, AgentError> {
        let before = &self.address;
        let begins = before.scheme.len() + ENDING.len() + "://".len() + before.authority.len();
        let rest = before.text.get(begins..).unwrap_or_default();
        let url = format!("{}://{host}:{port}{rest}", before.scheme);
        let mut address = Address::parse(&url).map_err(|problem| setting("url", problem))?;
        address.authorization.clone_from(&before.authorization);
        let name = match self.name == before.text {
            true => address.text.clone(),
            false => format!("{} {host}:{port}", self.name),
        };
        let mut labels = self.labels.clone();
        if !labels.iter().any(|(name, _)| name.as_str() == "service") {
            labels.push((name!("service"), Cow::Owned(before.host.clone())));
        }
        let made = Self {
            address,
            labels,
            is_service: false,
            ..self.clone()
        };
        made.with_name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> CheckSettings {
        CheckSettings::new(url).expect("valid")
    }

    #[test]
    fn a_service_stands_for_its_targets() {
        let service = settings("https+srv://u:secret@_https._tcp.example.org/health?x");
        assert_eq!(service.service(), Some("_https._tcp.example.org"));
        assert_eq!(
            service.name(),
            "https+srv://_https._tcp.example.org/health?x"
        );
        let target = service.at("a.example.org", 8443).expect("a host");
        assert_eq!(target.service(), None);
        assert_eq!(target.url(), "https://a.example.org:8443/health?x");
        assert_eq!(target.name(), target.url());
        assert!(target.address.authorization.is_some());
        let labels: Vec<_> = target.labels().iter().collect();
        assert_eq!(labels.len(), 1);
        assert_eq!(labels[0].1, "_https._tcp.example.org");
        let named = service.with_name("shop").expect("a name");
        let target = named.at("a.example.org", 8443).expect("a host");
        assert_eq!(target.name(), "shop a.example.org:8443");
        let bare = settings("TCP+SRV://_x._tcp.example.org");
        let target = bare.at("a.example.org", 1).expect("a host");
        assert_eq!(target.url(), "tcp://a.example.org:1");
    }

    #[test]
    fn a_port_and_a_scheme_that_is_none_are_refused() {
        for bad in [
            "http+srv://_http._tcp.example.org:80/",
            "gopher+srv://_x._tcp.y/",
        ] {
            assert!(CheckSettings::new(bad).is_err(), "{bad}");
        }
        let service = settings("http+srv://_http._tcp.example.org/");
        assert!(service.at("not a host", 1).is_err());
        assert_eq!(settings("http://example.org/").service(), None);
    }
}
