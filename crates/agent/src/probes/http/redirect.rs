//! Following redirects: where the next request goes, and where none may go.
//!
//! A server that is checked may not make the agent ask what only the agent's host can reach: link-local
//! addresses, the metadata services of clouds, and, unless it is there itself, loopback.

use super::super::address::Address;
use super::super::keys::Values;
use super::super::resolve;
use super::super::settings::setting;
use super::super::{AgentError, CheckReason};
use super::Failure;
use hyper::header::{self, HeaderMap};
use hyper::{Method, StatusCode};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::Url;

/// How many redirects are followed unless told otherwise.
const DEFAULT_MAX_REDIRECTS: u64 = 10;
const MAX_REDIRECTS: u64 = 100;
/// Services of clouds that tell secrets to whoever asks, beside those of link-local addresses.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)),
];

/// What is followed.
pub(super) struct Redirects {
    most: usize,
    allowed: Vec<IpNet>,
}

impl Redirects {
    /// `None` when redirects are answers like any other.
    pub(super) fn new(own: &Values) -> Result<Option<Self>, AgentError> {
        if !own.flag("follow_redirects") {
            for key in ["max_redirects", "allow_redirects_to"] {
                if own.is_set(key) {
                    return Err(setting(key, "it needs `follow_redirects = true`"));
                }
            }
            return Ok(None);
        }
        let most = own.count("max_redirects").unwrap_or(DEFAULT_MAX_REDIRECTS);
        if most > MAX_REDIRECTS {
            let problem = format!("it must be 1 to {MAX_REDIRECTS}");
            return Err(setting("max_redirects", problem));
        }
        let network = |text: &String| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            let parsed = text.parse::<IpNet>().or_else(|_| address());
            parsed.map_err(|_| {
                let problem = format!("{text:?} is no network, such as 10.0.0.0/8 or ::1");
                setting("allow_redirects_to", problem)
            })
        };
        let allowed = own.texts("allow_redirects_to").iter().map(network);
        Ok(Some(Self {
            most: most as usize,
            allowed: allowed.collect::<Result<_, _>>()?,
        }))
    }

    /// Whether a redirect may lead to an address; `inside` says whether it came from loopback.
    pub(super) fn judge(&self, address: IpAddr, inside: bool) -> Result<(), Failure> {
        let address = address.to_canonical();
        if self
            .allowed
            .iter()
            .any(|network| network.contains(&address))
        {
            return Ok(());
        }
        let link_local = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        // The unspecified address is this host, too.
        let loopback = address.is_loopback() || address.is_unspecified();
        let what = if METADATA.contains(&address) || link_local {
            "a link-local address or a metadata service"
        } else if loopback && !inside {
            "the agent's own host"
        } else {
            return Ok(());
        };
        let detail =
            format!("a redirect leads to {address}, {what}; `allow_redirects_to` would allow it");
        Err(Failure::new(CheckReason::RedirectRefused, detail))
    }
}

/// Whether a host is loopback as far as its text says.
pub(super) fn is_loopback(host: &str) -> bool {
    resolve::without_lookup(host).is_some_and(|all| all.iter().all(IpAddr::is_loopback))
}

/// The addresses that were asked, in order.
pub(super) struct Trail(Vec<(Method, String)>);

impl Trail {
    pub(super) fn new(method: &Method, address: &Address) -> Self {
        Self(vec![(method.clone(), address.text.clone())])
    }

    /// Goes on to an address.
    pub(super) fn to(
        &mut self,
        method: &Method,
        address: &Address,
        redirects: &Redirects,
    ) -> Result<(), Failure> {
        let step = (method.clone(), address.text.clone());
        let shown = without_query(address);
        let detail = if self.0.contains(&step) {
            format!("redirected to {shown} again")
        } else if self.0.len() > redirects.most {
            format!(
                "more than {} redirects, the last one to {shown}",
                redirects.most
            )
        } else {
            self.0.push(step);
            return Ok(());
        };
        Err(Failure::new(CheckReason::RedirectLoop, detail))
    }

    /// How many redirects were followed.
    pub(super) fn redirects(&self) -> u64 {
        self.0.len() as u64 - 1
    }
}

/// An address without its query, which may hold what a server gave to one visitor alone.
pub(super) fn without_query(address: &Address) -> &str {
    address.text.split('?').next().unwrap_or_default()
}

/// Where an answer sends the visitor; `None` when it does not.
pub(super) fn location(status: StatusCode, headers: &HeaderMap) -> Option<String> {
    let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = headers.get(header::LOCATION).filter(|_| redirects)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// The address behind a `Location` (RFC 9110, section 10.2.2), without a user in it.
pub(super) fn next(address: &Address, location: &str) -> Result<Address, Failure> {
    let refused = |problem: &dyn std::fmt::Display| {
        let detail = format!(
            "a redirect from {} to what is no URL: {problem}",
            without_query(address)
        );
        Failure::new(CheckReason::Protocol, detail)
    };
    let base = Url::parse(&address.text).map_err(|error| refused(&error))?;
    let mut url = base.join(location).map_err(|error| refused(&error))?;
    if !matches!(url.scheme(), "http" | "https") {
        let detail = format!(
            "a redirect leads to the scheme {:?}, not to http or https",
            url.scheme()
        );
        return Err(Failure::new(CheckReason::RedirectRefused, detail));
    }
    // URLs with a host have a user, so this does not fail.
    url.set_username("").ok();
    url.set_password(None).ok();
    Address::parse(url.as_str()).map_err(|problem| refused(&problem))
}

/// The method of the request that follows (RFC 9110, section 15.4).
pub(super) fn method_after(status: StatusCode, method: Method) -> Method {
    match (status.as_u16(), &method) {
        (303, &Method::HEAD) => method,
        (303, _) | (301 | 302, &Method::POST) => Method::GET,
        _ => method,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_redirect_may_lead() {
        let redirects = Redirects {
            most: 10,
            allowed: vec!["fd00:ec2::/32".parse().expect("a network")],
        };
        for (address, outside, inside) in [
            ("192.0.2.1", true, true),
            ("10.0.0.1", true, true),
            ("127.0.0.1", false, true),
            ("0.0.0.0", false, true),
            ("::1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("100.100.100.200", false, false),
            ("fd00:ec2::254", true, true),
        ] {
            let may = |inside| {
                let address = address.parse().expect("an address");
                redirects.judge(address, inside).is_ok()
            };
            assert_eq!((may(false), may(true)), (outside, inside), "{address}");
        }
    }

    #[test]
    fn locations_are_relative_to_the_address() {
        let from = Address::parse("https://a.example:8443/x/y?q").expect("a URL");
        for (location, expected) in [
            ("/z", "https://a.example:8443/z"),
            ("z", "https://a.example:8443/x/z"),
            ("../z#part", "https://a.example:8443/z"),
            ("?r", "https://a.example:8443/x/y?r"),
            ("//b.example", "https://b.example/"),
            ("http://u:p@b.example/z", "http://b.example/z"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
        ] {
            let next = next(&from, location).expect("a redirect");
            assert_eq!(next.text, expected, "{location}");
            assert!(next.authorization.is_none());
        }
        for (location, reason) in [
            ("file:///etc/passwd", CheckReason::RedirectRefused),
            ("http://[", CheckReason::Protocol),
        ] {
            assert_eq!(next(&from, location).expect_err("refused").reason, reason);
        }
    }

    #[test]
    fn a_post_becomes_a_get_where_it_should() {
        for (status, before, after) in [
            (301, Method::POST, Method::GET),
            (302, Method::PUT, Method::PUT),
            (303, Method::PUT, Method::GET),
            (303, Method::HEAD, Method::HEAD),
            (307, Method::POST, Method::POST),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(method_after(status, before), after, "{status}");
        }
    }
}
