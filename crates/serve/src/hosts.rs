//! Under which names a server answers.
//!
//! A web page of somebody else can have its own name resolve to an address of the reader's network
//! (DNS rebinding), and then reads what is there as if it were its own. It cannot change the name that
//! the browser sends, so a server that only answers to its own names gives it nothing. Addresses
//! are no names, so whoever sends one was not led by a name.

use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use std::net::IpAddr;

/// The names of one server, in lower case.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    names: Vec<String>,
    /// Ends of names, with their dot.
    ends: Vec<String>,
}

impl Hosts {
    /// The names that are said, where `*.example.org` stands for all below it, and those that this
    /// machine has for itself.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub(crate) fn new(said: &[String]) -> Result<Self, String> {
        let mut hosts = Self::default();
        let own = rustix::system::uname();
        hosts.names.push("localhost".to_owned());
        hosts.ends.push(".localhost".to_owned());
        hosts
            .names
            .extend(own.nodename().to_str().ok().map(str::to_ascii_lowercase));
        for name in said {
            let bare = name.strip_prefix("*.").unwrap_or(name);
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if bare.is_empty() || !bare.bytes().all(fits) {
                return Err(format!(
                    "`{name}`: expected a name without a port, such as metrics.example.org or *.example.org"
                ));
            }
            match name.strip_prefix('*') {
                Some(end) => hosts.ends.push(end.to_ascii_lowercase()),
                None => hosts.names.push(name.to_ascii_lowercase()),
            }
        }
        Ok(hosts)
    }

    /// Whether a request asks for one of them. One that names nobody, as those of HTTP/1.0 may, was
    /// sent by no browser.
    pub(crate) fn has(&self, head: &Parts) -> bool {
        match asked(head) {
            Asked::Nobody => true,
            Asked::For(name) => self.has_name(&name),
            Asked::Unclear => false,
        }
    }

    fn has_name(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        bare.unwrap_or(host).parse::<IpAddr>().is_ok()
            || self.names.iter().any(|name| name == host)
            || self
                .ends
                .iter()
                .any(|end| host.len() > end.len() && host.ends_with(end.as_str()))
    }
}

enum Asked {
    Nobody,
    For(String),
    Unclear,
}

fn asked(head: &Parts) -> Asked {
    if let Some(authority) = head.uri.authority() {
        return Asked::For(authority.host().to_ascii_lowercase());
    }
    match only(&head.headers) {
        Ok(None) => Asked::Nobody,
        Ok(Some(text)) => match text.parse::<hyper::http::uri::Authority>() {
            Ok(authority) if !text.contains('@') => {
                Asked::For(authority.host().to_ascii_lowercase())
            }
            _ => Asked::Unclear,
        },
        Err(()) => Asked::Unclear,
    }
}

/// The header `Host`, which may be there once.
fn only(headers: &HeaderMap) -> Result<Option<&str>, ()> {
    let mut all = headers.get_all(header::HOST).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => one.to_str().map(Some).map_err(drop),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn head(host: &[&str]) -> Parts {
        let request = host.iter().fold(Request::get("/"), |request, host| {
            request.header("host", *host)
        });
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn own_names_and_addresses_are_answered_and_no_others() {
        let hosts = Hosts::new(&["Metrics.example.org".to_owned(), "*.lan".to_owned()]).unwrap();
        for good in [
            &[][..],
            &["localhost:7710"],
            &["LOCALHOST"],
            &["a.localhost:1"],
            &["127.0.0.1:7710"],
            &["192.0.2.7"],
            &["[::1]:7710"],
            &["metrics.example.org."],
            &["db.lan:80"],
        ] {
            assert!(hosts.has(&head(good)), "{good:?}");
        }
        for bad in [
            &["evil.example:7710"][..],
            &["metrics.example.org.evil.example"],
            &["127.0.0.1.evil.example"],
            &["localhost.evil.example"],
            &["evillocalhost"],
            &[".lan"],
            &["lan"],
            &["user@localhost"],
            &["localhost", "evil.example"],
            &["evil.example", "localhost"],
            &[""],
            &["a b"],
        ] {
            assert!(!hosts.has(&head(bad)), "{bad:?}");
        }
        assert!(
            Hosts::new(&["a:80".to_owned()]).is_err() && Hosts::new(&["*.".to_owned()]).is_err()
        );
    }
}
