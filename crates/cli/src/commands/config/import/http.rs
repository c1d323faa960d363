//! The prober `http` of a module.

use super::module::{Keys, Probe};
use super::part::Part;

/// What is said of a password or a token that stands in the file itself.
const IN_THE_OPEN: &str = "it is in what is printed; better in a file";

pub(super) fn read(part: &mut Part<'_>, keys: &mut Keys) -> Probe {
    let codes = part.texts("valid_status_codes");
    match codes.is_empty() {
        true => keys.set("expect_status", vec!["2xx"]),
        false => keys.set("expect_status", codes),
    }
    versions(part, keys);
    if let Some(method) = part.text("method").filter(|method| *method != "GET") {
        keys.set("method", method);
    }
    sent(part, keys);
    authentication(part, keys);
    redirects(part, keys);
    for (key, scheme) in [("fail_if_ssl", "http://"), ("fail_if_not_ssl", "https://")] {
        let why = format!(
            "left out: the scheme of the URL says it, {scheme}…; with redirects compare `final_url`"
        );
        part.without_counterpart(key, "false", &why);
    }
    body(part, keys);
    headers(part, keys);
    let proxy = part.text("proxy_url");
    if let Some(proxy) = proxy {
        keys.set("proxy", proxy);
    }
    for key in ["no_proxy", "proxy_connect_header", "proxy_header"] {
        part.without_counterpart(
            key,
            "",
            "left out: each check says its proxy, and nothing more",
        );
    }
    part.without_counterpart(
        "proxy_from_environment",
        "false",
        "left out: each check says its `proxy`",
    );
    // Behind a proxy names are looked up there, here as well.
    part.without_counterpart("skip_resolve_phase_with_proxy", "true", "it is always so");
    tls(part, keys, true);
    match proxy {
        None => family(part, keys),
        Some(_) => for_the_proxy(part),
    }
    Probe::Http
}

fn versions(part: &mut Part<'_>, keys: &mut Keys) {
    let versions = part.texts("valid_http_versions");
    let is = |version: &&str, known: &[&str]| known.contains(version);
    let one = versions
        .iter()
        .any(|version| is(version, &["HTTP/1.1", "HTTP/1.0"]));
    let two = versions
        .iter()
        .any(|version| is(version, &["HTTP/2.0", "HTTP/2"]));
    let http2 = part.flag("enable_http2", true);
    match (one, two, http2) {
        (_, true, false) => part.note(
            "valid_http_versions",
            "left out: HTTP/2 is turned off by `enable_http2`",
        ),
        (true, true, true) | (false, false, true) => {}
        (false, true, true) => keys.set("http_version", "2"),
        (true, false, _) | (false, false, false) => keys.set("http_version", "1.1"),
    }
    if versions
        .iter()
        .any(|version| !is(version, &["HTTP/1.1", "HTTP/2.0", "HTTP/2"]))
    {
        part.note(
            "valid_http_versions",
            "left out: of the versions there are 1.1 and 2",
        );
    }
    part.without_counterpart("enable_http3", "false", "left out: HTTP/3 is not spoken");
}

fn sent(part: &mut Part<'_>, keys: &mut Keys) {
    for (name, text) in part.pairs("headers") {
        keys.set_pair("headers", name, text);
    }
    for (name, mut header) in part.named_parts("http_headers") {
        let secrets = header.texts("secrets");
        let texts = [header.texts("values"), secrets.clone()].concat();
        if !secrets.is_empty() {
            header.note("secrets", IN_THE_OPEN);
        }
        header.without_counterpart(
            "files",
            "",
            "left out: a header's text is not read from a file; there are `bearer_token_file` and `password_file`",
        );
        if let Some(text) = texts.last() {
            keys.set_pair("headers", name, text);
        }
        part.take_back(header);
    }
    if let Some(compression) = part.text("compression") {
        match compression {
            "" | "identity" => {}
            "gzip" | "deflate" if keys.pair("headers", "accept-encoding").is_none() => {
                keys.set_pair("headers", "Accept-Encoding", compression);
            }
            "gzip" | "deflate" => {}
            _ => part.note("compression", "left out: gzip and deflate are decoded"),
        }
    }
    for key in ["body", "body_file"] {
        if let Some(text) = part.text(key).filter(|text| !text.is_empty()) {
            keys.set(key, text);
        }
    }
}

fn authentication(part: &mut Part<'_>, keys: &mut Keys) {
    if let Some(mut basic) = part.part("basic_auth") {
        credential(&mut basic, keys, "username", "username", false);
        credential(&mut basic, keys, "password", "password", true);
        credential(&mut basic, keys, "password_file", "password_file", false);
        basic.without_counterpart(
            "username_file",
            "",
            "left out: the user is said as `username`",
        );
        part.take_back(basic);
    }
    if let Some(mut authorization) = part.part("authorization") {
        let kind = authorization.text("type").unwrap_or("Bearer");
        if kind.eq_ignore_ascii_case("bearer") {
            credential(
                &mut authorization,
                keys,
                "credentials",
                "bearer_token",
                true,
            );
            credential(
                &mut authorization,
                keys,
                "credentials_file",
                "bearer_token_file",
                false,
            );
        } else {
            if let Some(text) = authorization.text("credentials") {
                keys.set_pair("headers", "Authorization", &format!("{kind} {text}"));
                authorization.note("credentials", IN_THE_OPEN);
            }
            authorization.without_counterpart(
                "credentials_file",
                "",
                "left out: of what is in a file only Bearer is sent, by `bearer_token_file`",
            );
        }
        part.take_back(authorization);
    }
    credential(part, keys, "bearer_token", "bearer_token", true);
    credential(part, keys, "bearer_token_file", "bearer_token_file", false);
    part.without_counterpart(
        "oauth2",
        "",
        "left out: have a job write the token to a file, and name it as `bearer_token_file`",
    );
}

fn credential(
    part: &mut Part<'_>,
    keys: &mut Keys,
    theirs: &'static str,
    ours: &'static str,
    is_secret: bool,
) {
    if let Some(text) = part.text(theirs).filter(|text| !text.is_empty()) {
        keys.set(ours, text);
        if is_secret {
            part.note(theirs, format!("{IN_THE_OPEN}, as `{ours}_file`"));
        }
    }
}

fn redirects(part: &mut Part<'_>, keys: &mut Keys) {
    let not = part.flag("no_follow_redirects", false);
    if part.flag("follow_redirects", !not) {
        keys.set("follow_redirects", true);
    }
}

fn body(part: &mut Part<'_>, keys: &mut Keys) {
    if let Some(text) = part.text("body_size_limit").filter(|text| *text != "0") {
        match base2_bytes(text) {
            Some(bytes) => {
                keys.set("max_body_bytes", bytes);
                keys.set("expect_max_body_bytes", bytes);
            }
            None => part.note("body_size_limit", "left out: a size was expected, as 10MB"),
        }
    }
    if let Some(pattern) = any_of(&part.texts("fail_if_body_matches_regexp")) {
        keys.set("body_regexp_absent", pattern);
    }
    let wanted = part.texts("fail_if_body_not_matches_regexp");
    if let Some(first) = wanted.first() {
        keys.set("body_regexp", *first);
    }
    if wanted.len() > 1 {
        part.note(
            "fail_if_body_not_matches_regexp",
            "only the first is taken: a check has one `body_regexp`; make a check for each",
        );
    }
    for key in [
        "fail_if_body_json_matches_cel",
        "fail_if_body_json_not_matches_cel",
    ] {
        part.without_counterpart(key, "", "left out: see `json_pointer` with `json_equals`");
    }
}

fn headers(part: &mut Part<'_>, keys: &mut Keys) {
    for mut one in part.parts("fail_if_header_matches") {
        let (name, pattern) = (one.text("header"), one.text("regexp"));
        let may_be_missing = one.flag("allow_missing", false);
        if let (Some(name), Some(pattern)) = (name, pattern) {
            let before = keys.pair("expect_headers_absent", name).map(str::to_owned);
            let patterns: Vec<&str> = before.as_deref().into_iter().chain([pattern]).collect();
            let both = any_of(&patterns).unwrap_or_default();
            keys.set_pair("expect_headers_absent", name, &both);
            if !may_be_missing && keys.pair("expect_headers", name).is_none() {
                keys.set_pair("expect_headers", name, "");
            }
        } else {
            one.note("header", "left out: `header` and `regexp` were expected");
        }
        part.take_back(one);
    }
    for mut one in part.parts("fail_if_header_not_matches") {
        let (name, pattern) = (one.text("header"), one.text("regexp"));
        let may_be_missing = one.flag("allow_missing", false);
        match (name, pattern) {
            (Some(_), Some(_)) if may_be_missing => one.note(
                "allow_missing",
                "left out with its pattern: a header that is expected must be there",
            ),
            (Some(name), Some(pattern)) => match keys.pair("expect_headers", name) {
                None | Some("") => keys.set_pair("expect_headers", name, pattern),
                Some(_) => one.note("header", "left out: a header has one pattern"),
            },
            _ => one.note("header", "left out: `header` and `regexp` were expected"),
        }
        part.take_back(one);
    }
}

/// TLS; `with_identity` where the check can show a certificate.
pub(super) fn tls(part: &mut Part<'_>, keys: &mut Keys, with_identity: bool) {
    let Some(mut tls) = part.part("tls_config") else {
        return;
    };
    for (theirs, ours) in [
        ("ca_file", "ca_file"),
        ("server_name", "server_name"),
        ("cert_file", "certificate_file"),
        ("key_file", "key_file"),
    ] {
        let can = with_identity || theirs == ours && ours != "key_file";
        if !can {
            tls.without_counterpart(theirs, "", "left out: this check shows no certificate");
        } else if let Some(text) = tls.text(theirs).filter(|text| !text.is_empty()) {
            keys.set(ours, text);
        }
    }
    tls.without_counterpart(
        "insecure_skip_verify",
        "false",
        "left out: certificates are always verified; name the authority as `ca_file`",
    );
    tls.without_counterpart(
        "min_version",
        "TLS12",
        "left out: TLS 1.2 and 1.3 are spoken",
    );
    tls.without_counterpart(
        "max_version",
        "TLS13",
        "left out: TLS 1.2 and 1.3 are spoken",
    );
    for key in ["ca", "cert", "key"] {
        tls.without_counterpart(key, "", "left out: put it into a file, and name that");
    }
    part.take_back(tls);
}

/// Which addresses are used. The exporter prefers IPv6 unless it is told otherwise.
pub(super) fn family(part: &mut Part<'_>, keys: &mut Keys) {
    let preferred = part.text("preferred_ip_protocol").unwrap_or("ip6");
    let falls_back = part.flag("ip_protocol_fallback", true);
    let word = match (preferred, falls_back) {
        ("ip6" | "", true) => "prefer_ipv6",
        ("ip6" | "", false) => "ipv6",
        ("ip4", true) => "prefer_ipv4",
        ("ip4", false) => "ipv4",
        _ => return part.note("preferred_ip_protocol", "left out: expected ip4 or ip6"),
    };
    keys.set("address_family", word);
}

/// Behind a proxy the family would be that of the proxy's own address.
fn for_the_proxy(part: &mut Part<'_>) {
    const WHY: &str = "left out: the proxy looks up the name";
    part.without_counterpart("preferred_ip_protocol", "", WHY);
    part.without_counterpart("ip_protocol_fallback", "true", WHY);
}

/// A pattern that matches where one of these does.
pub(super) fn any_of(patterns: &[&str]) -> Option<String> {
    match patterns {
        [] => None,
        [one] => Some((*one).to_owned()),
        many => {
            let groups: Vec<_> = many.iter().map(|one| format!("(?:{one})")).collect();
            Some(groups.join("|"))
        }
    }
}

/// A size by powers of 1024, whether it is written MB or MiB; at least one byte.
fn base2_bytes(text: &str) -> Option<u64> {
    let unit = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let power = match unit.trim().trim_end_matches('B').trim_end_matches('i') {
        "" => 0,
        "K" | "k" => 1,
        "M" => 2,
        "G" => 3,
        _ => return None,
    };
    let bytes = number
        .parse::<u64>()
        .ok()?
        .checked_mul(1_024_u64.pow(power))?;
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_by_powers_of_1024() {
        for (text, expected) in [
            ("10MB", Some(10 << 20)),
            ("10MiB", Some(10 << 20)),
            ("1KB", Some(1_024)),
            ("4096", Some(4_096)),
            ("4096B", Some(4_096)),
            ("MB", None),
            ("1TB", None),
            ("0KB", None),
        ] {
            assert_eq!(base2_bytes(text), expected, "{text}");
        }
    }
}
