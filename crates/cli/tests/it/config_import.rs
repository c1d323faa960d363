//! `tidegauge config import blackbox`: what it prints is what the program takes, and what it cannot take
//! over is told.

use crate::program::{command, text};
use std::fs;
use std::path::Path;
use std::process::Output;

const MODULES: &str = r#"# All that can be said of a page, and some that cannot.
modules:
  page:
    prober: http
    timeout: 1m30s
    http:
      valid_status_codes: [200, 204]
      valid_http_versions: ["HTTP/1.1", "HTTP/2.0"]
      method: POST
      headers:
        Host: shop.example.org
        X-Key: s3cret-header
      http_headers:
        Accept-Language:
          values: [de, en]
        X-Token:
          secrets: [s3cret-token]
        X-File:
          files: [/etc/x]
      compression: gzip
      body: '{"a": "\n"}'
      body_size_limit: 10MB
      fail_if_not_ssl: true
      fail_if_body_matches_regexp: ["Could not", 'sorry\.']
      fail_if_body_not_matches_regexp: [welcome, cart]
      fail_if_body_json_matches_cel: "body.x == 1"
      fail_if_header_matches:
        - header: Set-Cookie
          allow_missing: true
          regexp: '.*'
        - header: Server
          regexp: Apache
      fail_if_header_not_matches:
        - header: Content-Type
          regexp: ^text/html
        - header: X-Maybe
          regexp: x
          allow_missing: true
      tls_config:
        ca_file: /etc/ca.pem
        insecure_skip_verify: true
        min_version: TLS12
        max_version: TLS12
      basic_auth:
        username: monitor
        password: s3cret-password
      oauth2:
        client_secret: s3cret-oauth
      preferred_ip_protocol: ip4
      folow_redirects: false
  plain:
    prober: http
    http:
      follow_redirects: false
      enable_http2: false
      ip_protocol_fallback: false
      authorization: { credentials_file: /etc/token }
  mail:
    prober: tcp
    timeout: 5s
    tcp:
      query_response:
        - expect: "^220 "
        - send: "EHLO prober\r"
        - expect: "^250-STARTTLS"
        - send: "STARTTLS\r"
        - expect: "^220"
        - starttls: true
        - send: "EHLO prober\r"
        - expect: "^250 "
      tls_config: { server_name: mail.example.org, cert_file: /x }
  database:
    prober: tcp
    tcp:
      query_response:
        - send: !!binary AAAACATSFi8=
        - expect_bytes: S
        - starttls: true
  names:
    prober: dns
    dns:
      query_name: example.org
      query_type: SOA
      dns_over_tls: true
      valid_rcodes: [NOERROR, NXDOMAIN]
      validate_answer_rrs:
        fail_if_none_matches_regexp: ["ns1"]
        fail_if_matches_regexp: [x]
  reach:
    prober: icmp
    icmp: { preferred_ip_protocol: ip6, ttl: 5, source_ip_address: "::1" }
  health:
    prober: grpc
    grpc: { service: shop, tls: true, metadata: { a: [b] } }
  socket:
    prober: unix
    unix: { tls: false }
"#;

fn import(file: &Path, arguments: &[&str]) -> Output {
    let mut command = command(&["config", "import", "blackbox", text(file)]);
    command.args(arguments).output().unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Whether the program takes the text.
fn is_sound(toml: &str, folder: &Path, as_targets: bool) -> Result<(), String> {
    let taken = folder.join("taken.toml");
    fs::write(&taken, toml).unwrap();
    let flag = if as_targets { "--targets" } else { "--config" };
    let output = command(&["config", "check", flag, text(&taken)])
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => Ok(()),
        _ => Err(said(&output.stderr)),
    }
}

#[test]
fn targets_become_checks_that_the_program_takes_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let here = |name: &str| folder.path().join(name);
    fs::write(here("token"), "s3cret\n").unwrap();
    let modules = MODULES
        .replace("        ca_file: /etc/ca.pem\n", "")
        .replace("/etc/token", text(&here("token")));
    let file = here("blackbox.yml");
    fs::write(&file, modules).unwrap();
    let targets = here("targets.yml");
    fs::write(
        &targets,
        "- targets: [https://shop.example.org/, shop.example.org:8080/x]\n  labels: { __param_module: page, Env: prod, a-b: c, __meta: y }\n\
         - targets: [https://shop.example.org/]\n  labels: { module: plain }\n\
         - targets: ['mail.example.org:25']\n  labels: { module: mail }\n\
         - targets: [192.0.2.53, 'ftp://x', '192.0.2.53']\n  labels: { module: names }\n\
         - targets: ['db.example.org:5432']\n  labels: { module: database }\n\
         - targets: ['2001:db8::1']\n  labels: { module: reach }\n\
         - targets: ['shop.example.org:443']\n  labels: { module: health }\n\
         - targets: [/run/x.sock]\n  labels: { module: socket }\n",
    )
    .unwrap();
    let output = import(&file, &["--targets", text(&targets)]);
    let (toml, notes) = (said(&output.stdout), said(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{notes}");
    is_sound(&toml, folder.path(), false).unwrap_or_else(|problem| panic!("{problem}\n{toml}"));
    for expected in [
        "[[agent.checks]]\nurl = \"https://shop.example.org/\"\nexpect_status = [\"200\",\"204\"]\nmethod = \"POST\"\n",
        "url = \"http://shop.example.org:8080/x\"\n",
        "\"Accept-Language\" = \"en\"",
        "\"Accept-Encoding\" = \"gzip\"",
        "\"X-Token\" = \"s3cret-token\"",
        "body = \"{\\\"a\\\": \\\"\\\\n\\\"}\"\n",
        "max_body_bytes = 10485760\nexpect_max_body_bytes = 10485760\n",
        "body_regexp_absent = \"(?:Could not)|(?:sorry\\\\.)\"\nbody_regexp = \"welcome\"\n",
        "expect_headers_absent = { \"Server\" = \"Apache\", \"Set-Cookie\" = \".*\" }\n",
        "expect_headers = { \"Content-Type\" = \"^text/html\", \"Server\" = \"\" }\n",
        "username = \"monitor\"\npassword = \"s3cret-password\"\n",
        "follow_redirects = true\n",
        "address_family = \"prefer_ipv4\"\n",
        "interval = \"90s\"\ndeadline = \"90s\"\nlabels = { \"env\" = \"prod\" }\n",
        "name = \"https://shop.example.org/ plain\"\nexpect_status = [\"2xx\"]\n",
        "address_family = \"ipv6\"\n",
        "url = \"tcp://mail.example.org:25\"\nstarttls = \"smtp\"\ndialogue = [\"send EHLO prober\\\\r\\\\n\",\"expect (?mR)^250 \"]\nserver_name = \"mail.example.org\"\n",
        "url = \"tcp://db.example.org:5432\"\nstarttls = \"postgres\"\naddress_family = \"prefer_ipv6\"\n",
        "url = \"dns://192.0.2.53/example.org?type=SOA\"\ntransport = \"tls\"\nanswers_regexp = \"ns1\"\n",
        "url = \"icmp://[2001:db8::1]\"\npackets = 1\nsource_address = \"::1\"\naddress_family = \"prefer_ipv6\"\n",
        "url = \"grpcs://shop.example.org:443/shop\"\n",
        "# http.oauth2: left out: ",
    ] {
        assert!(toml.contains(expected), "{expected}\nis not in\n{toml}");
    }
    for expected in [
        "blackbox.yml:19: module page: http.http_headers.X-File.files: left out",
        "blackbox.yml:23: module page: http.fail_if_not_ssl: left out: the scheme of the URL says it",
        "module page: http.fail_if_body_not_matches_regexp: only the first is taken",
        "module page: http.fail_if_body_json_matches_cel: left out",
        "module page: http.fail_if_header_not_matches.allow_missing: left out with its pattern",
        "module page: http.tls_config.insecure_skip_verify: left out: certificates are always verified",
        "module page: http.tls_config.max_version: left out",
        "module page: http.basic_auth.password: it is in what is printed; better in a file",
        "module page: http.oauth2: left out",
        "module page: http.folow_redirects: left out: this key is not known; did you mean `follow_redirects`?",
        "module page: timeout: it is longer than the usual interval",
        "module mail: tcp.tls_config.cert_file: left out: this check shows no certificate",
        "module names: dns.valid_rcodes: only the first is taken",
        "module names: dns.validate_answer_rrs.fail_if_matches_regexp: left out",
        "module reach: icmp.ttl: left out",
        "module health: grpc.metadata: left out",
        "module socket: prober: left out: there is no such check here",
        "targets.yml:2: labels.a-b: left out: it cannot be the name of a tag",
        "targets.yml:7: module names: left out: it is no target of dns",
        "targets.yml:7: module names: left out: this target is there already",
    ] {
        assert!(notes.contains(expected), "{expected}\nis not in\n{notes}");
    }
    assert!(
        !notes.contains("s3cret") && !notes.contains("module database"),
        "{notes}"
    );
    let comments = toml.lines().filter(|line| line.starts_with('#'));
    assert!(comments.clone().count() > 20);
    assert!(
        !comments.into_iter().any(|line| line.contains("s3cret")),
        "{toml}"
    );

    // The same for a file of targets, and made as often as it is said.
    let more = ["--format", "targets", "--check-interval", "2m"];
    let output = import(
        &file,
        &[&["--targets", text(&targets)], more.as_slice()].concat(),
    );
    let toml = said(&output.stdout);
    assert!(
        toml.contains("[[checks]]\n") && !toml.contains("agent.checks"),
        "{toml}"
    );
    assert!(
        toml.contains("interval = \"120s\"\ndeadline = \"90s\"\n"),
        "{toml}"
    );
    is_sound(&toml, folder.path(), true).unwrap_or_else(|problem| panic!("{problem}\n{toml}"));
}

#[test]
fn a_module_without_targets_is_a_template() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blackbox.yml");
    fs::write(&file, MODULES).unwrap();
    let output = import(&file, &[]);
    let toml = said(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    let mut lines = toml.lines().filter(|line| !line.is_empty());
    assert!(lines.all(|line| line.starts_with('#')), "{toml}");
    assert!(toml.contains("# ca_file = \"/etc/ca.pem\"\n"), "{toml}");
    assert!(
        toml.contains("# bearer_token_file = \"/etc/token\"\n"),
        "{toml}"
    );
    // Without its # each is a check that is taken.
    let keys = toml.lines().filter_map(|line| line.strip_prefix("# "));
    let tables =
        keys.filter(|line| line.starts_with("[[") && line.ends_with("]]") || line.contains(" = "));
    let wanted: Vec<_> = tables.filter(|line| !line.contains("_file = ")).collect();
    assert_eq!(
        wanted.iter().filter(|line| line.starts_with("[[")).count(),
        7,
        "{toml}"
    );
    let wanted = wanted.join("\n");
    // Each gets a URL of its own.
    let named = ["https://", "tcp://"].iter().fold(wanted, |text, scheme| {
        text.replacen(
            &format!("{scheme}example.org"),
            &format!("{scheme}other.example.org"),
            1,
        )
    });
    is_sound(&named, folder.path(), false).unwrap_or_else(|problem| panic!("{problem}\n{named}"));
    let one = said(&import(&file, &["--module", "reach"]).stdout);
    assert!(
        one.contains("# url = \"icmp://example.org\"") && !one.contains("Module page"),
        "{one}"
    );
}

#[test]
fn a_list_of_hosts_is_checked_with_the_module_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blackbox.yml");
    fs::write(&file, MODULES).unwrap();
    let list = folder.path().join("hosts");
    fs::write(&list, "# ours\na.example.org\nb.example.org  # the other\n").unwrap();
    let output = import(&file, &["--targets", text(&list), "--module", "reach"]);
    let toml = said(&output.stdout);
    for expected in [
        "url = \"icmp://a.example.org\"\n",
        "url = \"icmp://b.example.org\"\n",
    ] {
        assert!(toml.contains(expected), "{toml}");
    }
    is_sound(&toml, folder.path(), false).unwrap_or_else(|problem| panic!("{problem}\n{toml}"));
    let json = folder.path().join("hosts.json");
    fs::write(
        &json,
        r#"[{"targets": ["a.example.org"], "labels": {"room": "b2"}}]"#,
    )
    .unwrap();
    let output = import(&file, &["--targets", text(&json), "--module", "reach"]);
    assert!(said(&output.stdout).contains("labels = { \"room\" = \"b2\" }\n"));

    for (arguments, expected) in [
        (
            ["--targets", text(&list)].as_slice(),
            "hosts:2: which module is it checked with?",
        ),
        (
            &["--module", "nothing"],
            "--module: \"nothing\" is not there; there are page, plain",
        ),
        (
            &["--targets", "/nowhere"],
            "/nowhere: the file of targets cannot be read",
        ),
    ] {
        let output = import(&file, arguments);
        let problem = said(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{problem}");
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn a_file_that_is_none_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blackbox.yml");
    for (text, expected) in [
        ("", "blackbox.yml:1: expected `modules`"),
        ("modules: {}\n", "expected modules, with a name for each"),
        ("modules: [a]\n", "expected modules"),
        (
            "modules:\n  a: {}\nmore: 1\n",
            "blackbox.yml:3: unknown key `more`",
        ),
        (
            "modules:\n  a:\n    prober: htpt\n",
            "module a: expected a `prober`, one of http, tcp",
        ),
        (
            "modules:\n  a: 7\n  b: {}\n",
            "blackbox.yml:2: module a: expected `prober`",
        ),
        ("modules:\n  a: [\n", "blackbox.yml:"),
        (
            "modules:\n  a: &x\n    prober: http\n",
            "anchors and aliases are not taken here",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let output = import(&file, &[]);
        let problem = said(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}: {problem}");
        assert!(problem.contains(expected), "{text}: {problem}");
        assert!(output.stdout.is_empty());
    }
}
