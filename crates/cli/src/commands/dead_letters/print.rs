//! Dead letters for people and for programs. What came from a message goes to a terminal without
//! its control characters.

use serde_json::{Value, json};
use tidegauge_store::DeadLetterRow;

/// A letter as JSON. A message that is no UTF-8 is given in hexadecimal digits instead.
pub(super) fn object(letter: &DeadLetterRow) -> Value {
    let mut object = json!({
        "id": letter.id,
        "stored": super::super::time(letter.stored_us),
        "source": letter.source,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "index": letter.index,
        "reason": letter.reason,
        "detail": letter.detail,
        "encoding": letter.encoding,
    });
    match std::str::from_utf8(&letter.payload) {
        Ok(text) => object["payload"] = text.into(),
        Err(_) => object["payload_hex"] = hex(&letter.payload).into(),
    }
    object
}

/// Each as one line of JSON.
pub(super) fn lines(letters: &[DeadLetterRow]) -> anyhow::Result<()> {
    for letter in letters {
        say!("{}", serde_json::to_string(&object(letter))?)?;
    }
    Ok(())
}

/// A table, without the messages.
pub(super) fn table(letters: &[DeadLetterRow]) -> anyhow::Result<()> {
    if letters.is_empty() {
        return say!("there are no dead letters");
    }
    let mut table = super::super::table();
    table.set_header([
        "id",
        "stored",
        "topic",
        "partition",
        "offset",
        "point",
        "reason",
        "detail",
    ]);
    for letter in letters {
        table.add_row([
            letter.id.to_string(),
            super::super::time(letter.stored_us),
            one_line(&letter.topic),
            letter.partition.to_string(),
            letter.offset.to_string(),
            point(letter),
            letter.reason.clone(),
            one_line(&letter.detail),
        ]);
    }
    say!("{table}")
}

/// One letter, with its message.
pub(super) fn whole(letter: &DeadLetterRow) -> anyhow::Result<()> {
    let place = format!(
        "{} partition {} offset {}",
        one_line(&letter.topic),
        letter.partition,
        letter.offset
    );
    for (name, text) in [
        ("id", letter.id.to_string()),
        ("stored", super::super::time(letter.stored_us)),
        ("message", place),
        ("source", one_line(&letter.source)),
        ("point", point(letter)),
        ("reason", letter.reason.clone()),
        ("detail", one_line(&letter.detail)),
        ("encoding", one_line(&letter.encoding)),
        ("bytes", letter.payload.len().to_string()),
    ] {
        say!("{name:<9} {text}")?;
    }
    say!("")?;
    match std::str::from_utf8(&letter.payload) {
        Ok(text) => say!("{}", printable(text, true)),
        Err(_) => say!("{}", hex(&letter.payload)),
    }
}

/// A text without control characters.
pub(in crate::commands) fn one_line(text: &str) -> String {
    printable(text, false)
}

fn printable(text: &str, with_lines: bool) -> String {
    let shown = |character: char| match character {
        '\n' | '\t' if with_lines => character,
        control if control.is_control() => '\u{fffd}',
        other => other,
    };
    text.chars().map(shown).collect()
}

fn point(letter: &DeadLetterRow) -> String {
    letter
        .index
        .map_or_else(|| "all".to_owned(), |index| index.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(payload: &[u8]) -> DeadLetterRow {
        DeadLetterRow {
            id: 7,
            stored_us: 1_795_183_200_000_000,
            source: "kafka:x".to_owned(),
            topic: "t".to_owned(),
            partition: 0,
            offset: 9,
            index: None,
            reason: "syntax".to_owned(),
            detail: "a\u{1b}[2Jb".to_owned(),
            encoding: "json/1".to_owned(),
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn no_byte_of_a_message_is_lost_in_json() {
        assert_eq!(object(&letter(b"{\"a\"\0"))["payload"], "{\"a\"\0");
        let odd = object(&letter(b"\x00\xff"));
        assert_eq!(odd["payload_hex"], "00ff");
        assert!(odd.get("payload").is_none());
    }

    #[test]
    fn a_terminal_sees_no_control_characters() {
        assert_eq!(one_line("a\u{1b}[2J\nb"), "a\u{fffd}[2J\u{fffd}b");
        assert_eq!(printable("a\n\tb\r", true), "a\n\tb\u{fffd}");
    }
}
