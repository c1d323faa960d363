//! Tests of the line protocol: what lines mean, and each error with its place.

use super::*;
use crate::{ForeignSettings, TimeUnit};
use std::fmt::Write as _;
use tidegauge_model::{Host, ValueRef};

/// Each point and each error as a text, in the order of the lines.
fn read_in(context: DecodeContext<'_>, message: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut batch = BatchRef::default();
    Influx.decode_in(message, context, &mut batch)?;
    let hosts: Vec<_> = batch.hosts().collect();
    let mut told = Vec::new();
    for point in batch.points() {
        let mut text = format!("{}@{}", point.measurement, hosts[point.host as usize]);
        for (name, tag) in point.tags {
            write!(text, " {name}={tag}").expect("a text");
        }
        for (name, value) in point.fields {
            match value {
                ValueRef::Float(number) => write!(text, " {name}:{number}"),
                ValueRef::Bool(truth) => write!(text, " {name}:{truth}"),
                ValueRef::Text(quoted) => write!(text, " {name}:{quoted:?}"),
            }
            .expect("a text");
        }
        told.push((point.index, format!("{text} {}", point.time_us)));
    }
    let rejected = batch.rejected.iter();
    told.extend(rejected.map(|r| (r.index, format!("{}: {}", r.reason, r.detail))));
    told.sort();
    Ok(told
        .into_iter()
        .map(|(index, text)| format!("{index} {text}"))
        .collect())
}

fn read(message: &str) -> Result<Vec<String>, DecodeError> {
    read_in(DecodeContext::default(), message.as_bytes())
}

#[test]
fn lines_mean_what_they_mean_to_influxdb() {
    for (line, meaning) in [
        ("m,host=h f=1 1000", "m@h f:1 1"),
        ("m,host=h f=1 1999", "m@h f:1 1"),
        ("m,host=h f=1 -1", "m@h f:1 -1"),
        ("  m,host=h   f=1   1000  ", "m@h f:1 1"),
        (
            "m,host=h,a=b f=1.5,g=-2i,h=3u,i=1e3 1000",
            "m@h a=b f:1.5 g:-2 h:3 i:1000 1",
        ),
        (
            "m,host=h a=t,b=T,c=true,d=True,e=TRUE,g=f,h=F,i=false,j=False,k=FALSE 1000",
            "m@h a:true b:true c:true d:true e:true g:false h:false i:false j:false k:false 1",
        ),
        (
            r#"m,host=h s="a, b=c \"x\" \\ \n é" 1000"#,
            r#"m@h s:"a, b=c \"x\" \\ \\n é" 1"#,
        ),
        (r#"m,host=h s="" 1000"#, r#"m@h s:"" 1"#),
        (
            r"m,host=a\ b,t=x\,y\=z\q f=1 1000",
            r"m@a b t=x,y=z\q f:1 1",
        ),
        (
            r"my\ mea\,surement,host=h f\ 1=1 1000",
            "my_mea_surement@h f_1:1 1",
        ),
        (
            "diskIO,host=h,devName=sda readBytes=1i 1000",
            "disk_io@h dev_name=sda read_bytes:1 1",
        ),
        ("m,host=h f=1,f=2 1000", "m@h f:2 1"),
        ("m,host=h aB=1,aB=t 1000", "m@h a_b:true 1"),
        ("m,host=h f=1,g=NaN,h=-Inf,i=1e999 1000", "m@h f:1 1"),
    ] {
        assert_eq!(read(line).expect(line), [format!("1 {meaning}")], "{line}");
    }
}

#[test]
fn many_lines_with_comments_newlines_in_texts_and_other_ends() {
    let message = "# made by hand\r\n\r\nm,host=a f=1 1000\r\n\n  # more\nm,host=b s=\"x\ny\",f=2 2000\nm,host=a f=3 3000\r";
    let told = read(message).expect("lines");
    let expected = ["3 m@a f:1 1", "6 m@b s:\"x\\ny\" f:2 2", "8 m@a f:3 3"];
    assert_eq!(told, expected);
    for nothing in ["\n", "# only this", " \r\n\t\n"] {
        assert_eq!(read(nothing).expect("no line"), [""; 0]);
    }
}

#[test]
fn d7_a_bad_line_has_its_reason_and_place_and_its_neighbours_are_stored() {
    for (line, error) in [
        (
            "m",
            "syntax: at line 2 (byte 20, column 2): expected a field, name=value",
        ),
        (
            "m,host=h",
            "syntax: at line 2 (byte 27, column 9): expected a field, name=value",
        ),
        (
            ",host=h f=1",
            "syntax: at line 2 (byte 19, column 1): expected a measurement",
        ),
        (
            "m,host f=1",
            "syntax: at line 2 (byte 25, column 7): expected a tag, name=text",
        ),
        (
            "m,=h f=1",
            "syntax: at line 2 (byte 21, column 3): expected a tag, name=text",
        ),
        (
            "m,host= f=1",
            "syntax: at line 2 (byte 26, column 8): expected the text of a tag",
        ),
        (
            "m,host=a=b f=1",
            "syntax: at line 2 (byte 27, column 9): expected the text of a tag",
        ),
        (
            "m,host=h f",
            "syntax: at line 2 (byte 29, column 11): expected a field, name=value",
        ),
        (
            "m,host=h f=",
            "syntax: at line 2 (byte 30, column 12): expected the value of a field",
        ),
        (
            "m,host=h f= 1",
            "syntax: at line 2 (byte 30, column 12): expected the value of a field",
        ),
        (
            "m,host=h f=1,",
            "syntax: at line 2 (byte 32, column 14): expected a field, name=value",
        ),
        (
            "m,host=h f=\"x",
            "syntax: at line 2 (byte 30, column 12): the closing quote of a text is missing",
        ),
        (
            "m,host=h f=\"x\"y 1",
            "syntax: at line 2 (byte 33, column 15): expected a comma, a space or the end of the line",
        ),
        (
            "m,host=h f=1 1000 x",
            "syntax: at line 2 (byte 37, column 19): expected the end of the line",
        ),
        (
            "m,host=h f=1x 1000",
            "wrong_type: at line 2 (byte 30, column 12): expected a number, a truth value or a text in quotes, found \"1x\"",
        ),
        (
            "m,host=h f=abc 1000",
            "wrong_type: at line 2 (byte 30, column 12): expected a number, a truth value or a text in quotes, found \"abc\"",
        ),
        (
            "m,host=h f=1 12.5",
            "bad_time: at line 2 (byte 32, column 14): expected an integer of 64 bits as time, found \"12.5\"",
        ),
        (
            "m,host=h f=1 9223372036854775808",
            "bad_time: at line 2 (byte 32, column 14): expected an integer of 64 bits as time, found \"9223372036854775808\"",
        ),
        (
            "m,host=h f=1",
            "bad_time: at line 2 (byte 31, column 13): the line has no time, and that of its message is not known",
        ),
        (
            "m,host=h,a=1,a=2 f=1 1",
            "duplicate_key: at line 2 (byte 32, column 14): \"a\" is there twice",
        ),
        (
            "m,host=h,a.b=1,a-b=2 f=1 1",
            "duplicate_key: at line 2 (byte 34, column 16): \"a_b\" is there twice",
        ),
        (
            "m,host=h a.b=1,aB=2 1",
            "duplicate_key: at line 2 (byte 34, column 16): \"a.b\" and \"aB\" are both the name a_b",
        ),
        (
            "m,host=h %=1 1",
            "bad_name: at line 2 (byte 28, column 10): \"%\" has no letter and no digit of ASCII",
        ),
        (
            "%,host=h f=1 1",
            "bad_name: at line 2 (byte 19, column 1): \"%\" has no letter and no digit of ASCII",
        ),
        (
            "m f=1 1",
            "missing_key: at line 2 (byte 19, column 1): no tag names the host (host), and sink.default_host is not set",
        ),
        (
            "m,host=h f=NaN 1",
            "no_fields: at line 2 (byte 19, column 1): no field has a value",
        ),
        (
            "m,host=h f=\"\0\" 1",
            "bad_text: at line 2 (byte 28, column 10): a text has U+0000",
        ),
        (
            "m,host=a\tb f=1 1",
            "bad_host: at line 2 (byte 19, column 1): a host name has 1 to 253 bytes and no control characters",
        ),
    ] {
        let message = format!("m,host=h f=0 1000\r\n{line}\nm,host=h f=2 2000");
        let told = read(&message).expect(line);
        let expected = [
            "1 m@h f:0 1".to_owned(),
            format!("2 {error}"),
            "3 m@h f:2 2".to_owned(),
        ];
        assert_eq!(told, expected, "{line:?}");
        let alone = read(line);
        match error.starts_with("syntax") {
            true => assert_eq!(alone.expect_err(line).reason, Reason::Syntax),
            false => assert_eq!(alone.expect(line).len(), 1, "{line:?}"),
        }
    }
}

#[test]
fn a_text_in_a_bad_line_is_not_taken_for_lines() {
    let message = "m,host=h,host=h s=\"x\nevil,host=h f=1 1000\n\" 1000\nm,host=h f=2 2000";
    let told = read(message).expect("lines");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("1 duplicate_key"), "{told:?}");
    assert_eq!(told[1], "4 m@h f:2 2");
}

#[test]
fn a_quote_that_is_missing_takes_no_line_with_it() {
    let message = "m,host=h s=\"x 1000\nm,host=h f=1 1000\nm,host=h s=\"y\" 2000\nm,host=h s=\"z";
    let told = read(message).expect("lines");
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[1..3], ["2 m@h f:1 1", "3 m@h s:\"y\" 2"]);
    assert!(told[0].contains("syntax") && told[3].contains("syntax"));
}

#[test]
fn a_message_of_another_format_is_one_error() {
    let json = "{\"metrics\":[\n{\"fields\":{\"a\":1}}\n]}";
    let error = read(json).expect_err("no lines");
    assert_eq!(
        (error.reason, error.at.line, error.at.column),
        (Reason::Syntax, 1, 13)
    );
    let error = read_in(DecodeContext::default(), b"\x08\x01\n\xff\xfe\n").expect_err("no lines");
    assert_eq!(error.reason, Reason::Syntax);
    let error = read("").expect_err("no lines");
    assert_eq!(error.reason, Reason::Empty);
    // One line of the format, wherever it is, and each error is told.
    let told = read("x\ny\nz\nm,host=h f=1 1000").expect("a line");
    assert_eq!(told.len(), 4);
    assert!(
        told[..3].iter().all(|told| told.contains("syntax")),
        "{told:?}"
    );
    assert_eq!(read("x\nm f=1 1").expect("a line").len(), 2);
}

#[test]
fn a_line_that_is_no_utf8_fails_alone() {
    let message = b"m,host=h f=1 1000\nm,host=h,t=\xff f=2 2\nm,host=h f=3 3000\nm,host=h f=\"\xc3";
    let told = read_in(DecodeContext::default(), message).expect("lines");
    let expected = [
        "1 m@h f:1 1",
        "2 syntax: at line 2 (byte 29, column 12): the line is no UTF-8",
        "3 m@h f:3 3",
        "4 syntax: at line 4 (byte 67, column 13): the line is no UTF-8",
    ];
    assert_eq!(told, expected);
}

#[test]
fn settings_and_the_time_of_the_message() {
    let foreign = ForeignSettings {
        host_tags: Some(vec!["node".to_owned(), "host".to_owned()]),
        default_host: Some(Host::new("d").expect("valid")),
        time_unit: Some(TimeUnit::Seconds),
    };
    let context = DecodeContext {
        foreign: &foreign,
        received_us: Some(7),
    };
    let message = b"m,host=h,node=n f=1 2\nm,host=h f=1\nm f=1 3\nm f=1 9223372036854775807";
    let told = read_in(context, message).expect("lines");
    assert_eq!(
        told[..3],
        [
            "1 m@n host=h f:1 2000000",
            "2 m@h f:1 7",
            "3 m@d f:1 3000000"
        ]
    );
    assert!(told[3].starts_with("4 bad_time"));
}

#[test]
fn texts_without_escapes_are_borrowed() {
    let message = "cpu,host=h,cpu=cpu0 usage_idle=99.5,state=\"fine\" 1000\ncpu,host=h,cpu=cpu1 usage_idle=98,state=\"x\" 1000\n";
    let mut batch = BatchRef::default();
    Influx
        .decode(message.as_bytes(), &mut batch)
        .expect("lines");
    let is_borrowed =
        |text: &std::borrow::Cow<'_, str>| matches!(text, std::borrow::Cow::Borrowed(_));
    assert!(is_borrowed(&batch.host));
    for point in batch.points() {
        assert!(
            point
                .tags
                .iter()
                .all(|(name, text)| is_borrowed(name) && is_borrowed(text))
        );
        assert!(point.fields.iter().all(|(name, _)| is_borrowed(name)));
    }
}
