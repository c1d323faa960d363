//! The address of a check: a URL taken apart, its user and password kept away from everything
//! that is printed or sent as data.

use hyper::Uri;
use hyper::header::HeaderValue;

/// A URL without its user, password and fragment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Address {
    /// The URL as it was written, without user, password and fragment.
    pub(super) text: String,
    /// The scheme in lower case.
    pub(super) scheme: String,
    /// The host, an IPv6 address without its brackets.
    pub(super) host: String,
    /// The port, if it is written.
    pub(super) port: Option<u16>,
    /// Host and port as written: the value of the `Host` header.
    pub(super) authority: String,
    /// Path and query, at least `/`.
    pub(super) path: String,
    /// The header for user and password (RFC 7617); its debug form does not show them.
    pub(super) authorization: Option<HeaderValue>,
}

impl Address {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it, because it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or("it has no scheme; write it as https://host/path")?;
        let rest = rest.split('#').next().unwrap_or_default();
        let authority_ends = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_ends);
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let scheme = scheme.to_ascii_lowercase();
        let text = format!("{scheme}://{authority}{path}");
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or("it has no host")?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: uri.port_u16(),
            authority: authority.to_owned(),
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
            authorization: user.map(basic_authorization).transpose()?,
            text,
        })
    }
}

#[cfg(feature = "databases")]
impl Address {
    /// The user, and the password unless it is empty.
    pub(super) fn login(&self) -> Option<(String, Option<String>)> {
        use base64::prelude::{BASE64_STANDARD, Engine};
        let basic = self.authorization.as_ref()?.as_bytes();
        let both = BASE64_STANDARD
            .decode(basic.strip_prefix(b"Basic ")?)
            .ok()?;
        let both = String::from_utf8_lossy(&both);
        let (user, password) = both.split_once(':')?;
        let password = (!password.is_empty()).then(|| password.to_owned());
        Some((user.to_owned(), password))
    }
}

/// `Basic` credentials of RFC 7617 from the user part of a URL.
fn basic_authorization(user: &str) -> Result<HeaderValue, String> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    basic(&percent_decoded(user), &percent_decoded(password))
}

fn basic(user: &[u8], password: &[u8]) -> Result<HeaderValue, String> {
    sensitive(&format!(
        "Basic {}",
        base64(&[user, b":", password].concat())
    ))
}

/// The header for a user and a password, or for a token alone (RFC 6750).
pub(crate) fn authorization_of(user: Option<&str>, secret: &str) -> Result<HeaderValue, String> {
    match user {
        Some(user) => basic(user.as_bytes(), secret.as_bytes()),
        None => sensitive(&format!("Bearer {secret}")),
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "its user, password or token cannot be sent in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The bytes behind `%41` and the like (RFC 3986, section 2.1); what is no escape stays.
pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match tail {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        decoded.push(escape.map_or(*first, |(high, low)| high << 4 | low));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    decoded
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let address = Address::parse("HTTPS://example.com:8443/a/b?c=d#e").expect("valid");
        assert_eq!(address.text, "https://example.com:8443/a/b?c=d");
        assert_eq!(
            (address.scheme.as_str(), address.host.as_str()),
            ("https", "example.com")
        );
        assert_eq!(address.port, Some(8443));
        assert_eq!(address.authority, "example.com:8443");
        assert_eq!(address.path, "/a/b?c=d");
        let address = Address::parse("http://[::1]?x").expect("valid");
        assert_eq!(
            (address.host.as_str(), address.path.as_str()),
            ("::1", "/?x")
        );
        assert_eq!(address.port, None);
    }

    #[test]
    fn user_and_password_are_sent_and_never_shown() {
        let address = Address::parse("http://Aladdin:open%20sesame@host/x").expect("valid");
        let header = address.authorization.as_ref().expect("has a user");
        assert_eq!(header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(address.text, "http://host/x");
        let debug = format!("{address:?}");
        assert!(
            !debug.contains("sesame") && !debug.contains("QWxh"),
            "{debug}"
        );
        for bad in [
            "http://u:secret@",
            "http://u:secret@ho st/",
            "u:secret@host",
        ] {
            let problem = Address::parse(bad).expect_err("not a URL");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn base64_as_in_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(percent_decoded("%41%zz%4"), b"A%zz%4");
    }
}
