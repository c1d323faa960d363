//! What is sent: method, headers, body and credentials, and what of it another server may get.
//!
//! Names of headers do not say whether their text is a secret, so of those that are set another
//! origin than that of the check's URL gets only the few that are known to be none.

use super::super::address::{Address, authorization_of};
use super::super::keys::{Values, own_file, secret};
use super::super::settings::{CheckSettings, setting};
use super::super::{AgentError, CheckReason, USER_AGENT};
use super::{Failure, Visit};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};

/// Headers that the connection or the body decide on.
const NOT_TO_SET: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Headers that every server may get.
const NO_SECRETS: &[HeaderName] = &[
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::USER_AGENT,
];

/// A request as the settings have it.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) body: Bytes,
    headers: HeaderMap,
}

impl Ask {
    pub(super) fn new(settings: &CheckSettings) -> Result<Self, AgentError> {
        let own = settings.own();
        let method = match own.text("method") {
            None => Method::GET,
            Some(text) => Method::from_bytes(text.as_bytes())
                .ok()
                .filter(|method| method != Method::CONNECT)
                .ok_or_else(|| setting("method", "it is no method, such as GET, HEAD or POST"))?,
        };
        let body = match (own.text("body"), own.path("body_file")) {
            (Some(_), Some(_)) => {
                return Err(setting("body_file", "`body` is said too: take one of them"));
            }
            (Some(text), None) => Bytes::copy_from_slice(text.as_bytes()),
            (None, Some(path)) => own_file("body_file", path)?.into(),
            (None, None) => Bytes::new(),
        };
        let mut headers = HeaderMap::new();
        for (name, text) in own.pairs("headers") {
            let header: HeaderName = name
                .parse()
                .map_err(|_| setting("headers", format!("{name:?} is no name of a header")))?;
            if NOT_TO_SET.contains(&header) {
                let problem =
                    format!("{name} cannot be set: the connection and the body decide on it");
                return Err(setting("headers", problem));
            }
            let mut value = HeaderValue::from_str(text).map_err(|_| {
                setting(
                    "headers",
                    format!("the text of {name} cannot be sent in a header"),
                )
            })?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        if let Some(authorization) = authorization(own, settings.address())?
            && headers
                .insert(header::AUTHORIZATION, authorization)
                .is_some()
        {
            let problem = "Authorization is said by other settings too: take one of them";
            return Err(setting("headers", problem));
        }
        Ok(Self {
            method,
            body,
            headers,
        })
    }

    /// Sets a header in place of what the settings say.
    pub(super) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Whether the settings ask for bodies that are encoded.
    pub(super) fn takes_encodings(&self) -> bool {
        self.headers.contains_key(header::ACCEPT_ENCODING)
    }

    /// The request of one visit. Through a proxy the whole address is its target (RFC 9112, 3.2.2).
    pub(super) fn request(
        &self,
        visit: &Visit<'_>,
        proxy_authorization: Option<Option<&HeaderValue>>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let address = visit.address;
        let broken = |error: &dyn std::fmt::Display| {
            Failure::new(
                CheckReason::Protocol,
                format!("making the request: {error}"),
            )
        };
        let body = match visit.with_body {
            true => self.body.clone(),
            false => Bytes::new(),
        };
        let target = match proxy_authorization {
            None => address.path.as_str(),
            Some(_) => address.text.as_str(),
        };
        let mut request = Request::builder()
            .method(visit.method)
            .uri(target)
            .body(Full::new(body))
            .map_err(|error| broken(&error))?;
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(&address.authority).map_err(|error| broken(&error))?;
        headers.insert(header::HOST, host);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        if let Some(Some(authorization)) = proxy_authorization {
            headers.insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &self.headers {
            let may = visit.at_home || NO_SECRETS.contains(name);
            // A redirect that takes the body away takes its type too.
            let of_body = name == header::CONTENT_TYPE && !self.body.is_empty();
            if may && (visit.with_body || !of_body) {
                headers.insert(name.clone(), value.clone());
            }
        }
        Ok(request)
    }
}

/// The one way in which a check says who it is.
fn authorization(own: &Values, address: &Address) -> Result<Option<HeaderValue>, AgentError> {
    let token = secret(own, "bearer_token", "bearer_token_file")?;
    let password = secret(own, "password", "password_file")?;
    let user = own.text("username");
    let ways = [
        address.authorization.is_some(),
        token.is_some(),
        user.is_some(),
    ];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        let problem = "take one of a user in the URL, `username` and `bearer_token`";
        return Err(setting("url", problem));
    }
    match (user, password, token) {
        (None, Some(_), _) => Err(setting("password", "it needs a `username`")),
        (Some(_), None, _) => Err(setting(
            "username",
            "it needs a `password_file` or a `password`",
        )),
        (Some(user), Some(_), _) if user.contains(':') => {
            Err(setting("username", "it must not have a colon"))
        }
        (Some(user), Some(password), _) => authorization_of(Some(user), &password)
            .map(Some)
            .map_err(|problem| setting("username", problem)),
        (None, None, Some(token)) => authorization_of(None, &token)
            .map(Some)
            .map_err(|problem| setting("bearer_token", problem)),
        (None, None, None) => Ok(address.authorization.clone()),
    }
}
