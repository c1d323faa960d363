//! The other probers of a module: `tcp`, `dns`, `icmp`, `grpc`.

use super::http::{family, tls};
use super::module::{Keys, Probe};
use super::part::Part;

pub(super) fn tcp(part: &mut Part<'_>, keys: &mut Keys) -> Probe {
    if part.flag("tls", false) {
        keys.set("tls", true);
    }
    dialogue(part, keys);
    tls(part, keys, false);
    source(part, keys);
    family(part, keys);
    Probe::Tcp
}

/// The steps of a dialogue. Where TLS begins in it, what came before is the protocol's own way to ask for
/// it, which `starttls` stands for.
fn dialogue(part: &mut Part<'_>, keys: &mut Keys) {
    let (mut steps, mut done) = (Vec::new(), Vec::new());
    let mut asked = None;
    for mut one in part.parts("query_response") {
        if let Some(pattern) = one.text("expect") {
            // There a pattern is held against one line after the other, without its end.
            let by_lines = match pattern.contains(['^', '$']) {
                true => "(?mR)",
                false => "",
            };
            steps.push(format!("expect {by_lines}{pattern}"));
        }
        if let Some(bytes) = one.bytes("send") {
            if bytes == POSTGRES_ASKS {
                asked = Some("postgres");
            }
            one.note("send", "left out: a text is sent, and these are bytes");
        } else if let Some(text) = one.text("send") {
            if text.contains("${") {
                one.note(
                    "send",
                    "sent as it stands: what a pattern matched is not put in",
                );
            }
            steps.push(format!("send {}\\n", escaped(text)));
            asked = starttls(text).or(asked);
        }
        one.without_counterpart("expect_bytes", "", "left out: write it as an `expect`");
        one.without_counterpart("labels", "", "left out: what is said is no label here");
        if one.flag("starttls", false) {
            match asked {
                Some(word) => {
                    keys.set("starttls", word);
                    steps.clear();
                    // What there was to say of them.
                    done.clear();
                }
                None => one.note(
                    "starttls",
                    "left out: in which protocol is not clear; say it as `starttls`, and leave out the steps before it",
                ),
            }
        }
        done.push(one);
    }
    done.into_iter().for_each(|one| part.take_back(one));
    if !steps.is_empty() {
        keys.set("dialogue", steps);
    }
}

/// How a client of PostgreSQL asks for TLS: the message SSLRequest.
const POSTGRES_ASKS: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";

/// The protocol in which TLS is asked for by these lines.
fn starttls(sent: &str) -> Option<&'static str> {
    let lines = sent.lines().map(|line| line.trim().to_ascii_uppercase());
    lines.fold(None, |found, line| {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["STARTTLS"] => Some("smtp"),
            [_, "STARTTLS"] => Some("imap"),
            ["STLS"] => Some("pop3"),
            _ => found,
        }
    })
}

/// A text as `send` has it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\r', "\\r")
        .replace('\n', "\\n")
        .replace('\t', "\\t")
}

pub(super) fn dns(part: &mut Part<'_>, keys: &mut Keys) -> Probe {
    let name = part.text("query_name").unwrap_or_default();
    let kind = part.text("query_type").unwrap_or("ANY");
    part.without_counterpart("query_class", "IN", "left out: the class is IN");
    part.without_counterpart(
        "recursion_desired",
        "true",
        "left out: recursion is asked for",
    );
    let over_tls = part.flag("dns_over_tls", false);
    match (over_tls, part.text("transport_protocol")) {
        (true, _) => keys.set("transport", "tls"),
        (false, Some("tcp")) => keys.set("transport", "tcp"),
        (false, None | Some("udp")) => {}
        (false, Some(_)) => part.note("transport_protocol", "left out: expected udp or tcp"),
    }
    let codes = part.texts("valid_rcodes");
    if let Some(code) = codes.first().filter(|code| **code != "NOERROR") {
        keys.set("expect_rcode", *code);
    }
    if codes.len() > 1 {
        part.note(
            "valid_rcodes",
            "only the first is taken: a check expects one code",
        );
    }
    if let Some(mut answers) = part.part("validate_answer_rrs") {
        let wanted = answers.texts("fail_if_none_matches_regexp");
        if let Some(pattern) = wanted.first() {
            keys.set("answers_regexp", *pattern);
            answers.note(
                "fail_if_none_matches_regexp",
                "taken as `answers_regexp`, which sees the data of a record without its name, time to live, class and type",
            );
        }
        if wanted.len() > 1 {
            answers.note("fail_if_none_matches_regexp", "only the first is taken");
        }
        for key in [
            "fail_if_matches_regexp",
            "fail_if_all_match_regexp",
            "fail_if_not_matches_regexp",
        ] {
            answers.without_counterpart(key, "", "left out: there is `answers_regexp` alone");
        }
        part.take_back(answers);
    }
    for key in ["validate_authority_rrs", "validate_additional_rrs"] {
        part.without_counterpart(key, "", "left out: only answers are looked at");
    }
    if over_tls {
        tls(part, keys, false);
    } else {
        part.without_counterpart(
            "tls_config",
            "",
            "left out: there is no TLS without `dns_over_tls`",
        );
    }
    source(part, keys);
    family(part, keys);
    let name = name
        .strip_suffix('.')
        .filter(|name| !name.is_empty())
        .unwrap_or(name);
    Probe::Dns(format!("/{name}?type={kind}"))
}

pub(super) fn icmp(part: &mut Part<'_>, keys: &mut Keys) -> Probe {
    keys.set("packets", 1);
    part.without_counterpart("dont_fragment", "false", "left out: packets have 56 bytes");
    part.without_counterpart("payload_size", "0", "left out: packets have 56 bytes");
    part.without_counterpart("ttl", "64", "left out: the time to live is the system's");
    source(part, keys);
    family(part, keys);
    Probe::Icmp
}

pub(super) fn grpc(part: &mut Part<'_>, keys: &mut Keys) -> Probe {
    let service = part.text("service").unwrap_or_default().to_owned();
    let scheme = match part.flag("tls", false) {
        true => {
            tls(part, keys, false);
            "grpcs"
        }
        false => {
            part.without_counterpart("tls_config", "", "left out: there is no TLS without `tls`");
            "grpc"
        }
    };
    part.without_counterpart("metadata", "", "left out: no metadata is sent");
    family(part, keys);
    Probe::Grpc(scheme, service)
}

fn source(part: &mut Part<'_>, keys: &mut Keys) {
    if let Some(address) = part
        .text("source_ip_address")
        .filter(|text| !text.is_empty())
    {
        keys.set("source_address", address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_known_by_how_it_asks_for_tls() {
        for (sent, expected) in [
            ("EHLO prober\nSTARTTLS\n", Some("smtp")),
            (". STARTTLS\n", Some("imap")),
            ("stls\n", Some("pop3")),
            ("EHLO prober\n", None),
            ("", None),
        ] {
            assert_eq!(starttls(sent), expected, "{sent:?}");
        }
    }

    #[test]
    fn what_is_sent_has_its_escapes() {
        assert_eq!(escaped("a\\b\r\n\tc"), r"a\\b\r\n\tc");
    }
}
