//! Pages of metrics: captured and made ones mean what they did (`golden/openmetrics/v1/<case>`, its
//! meaning in `<case>.txt`), and whatever is read, nothing panics and nothing is read wrongly.

use crate::golden::compare_in;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use tidegauge_model::{Kind, Point, Value};
use tidegauge_wire::openmetrics::{Dialect, read};

const TAKEN_US: i64 = 1_795_183_200_000_000;

/// A point in one line.
fn told(point: &Point) -> String {
    let mut line = format!(
        "{} {} {}",
        point.time_us(),
        point.kind(),
        point.measurement()
    );
    for (name, text) in point.tags() {
        write!(line, " {name}={text:?}").expect("a string");
    }
    line.push_str(" :");
    for (name, value) in point.fields() {
        match value {
            Value::Float(number) => write!(line, " {name}={number}"),
            other => write!(line, " {name}={other:?}"),
        }
        .expect("a string");
    }
    line
}

#[test]
fn pages_mean_what_they_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/openmetrics/v1");
    for case in ["broken.prom", "node_exporter.prom", "program.om"] {
        let bytes = fs::read(folder.join(case)).expect(case);
        let page = read(&bytes, Dialect::of_page(&bytes), TAKEN_US);
        let mut meaning = String::new();
        for point in &page.points {
            writeln!(meaning, "{}", told(point)).expect("a string");
        }
        for rejected in &page.rejected {
            writeln!(meaning, "{} {}", rejected.reason, rejected.detail).expect("a string");
        }
        writeln!(meaning, "left out: {}", page.left_out).expect("a string");
        compare_in(&folder, case, &meaning);
    }
}

/// Pieces of pages, so that reading gets deep.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "# TYPE a histogram\n",
        "# TYPE a summary\n",
        "# TYPE b counter\n",
        "# TYPE",
        "# EOF",
        "#",
        "a",
        "a_bucket",
        "a_count",
        "a_sum",
        "b_total",
        "b_created",
        "{",
        "}",
        "le=",
        "quantile=",
        "\"",
        "\"0.5\"",
        "\"+Inf\"",
        "\"NaN\"",
        "\\",
        "\\n",
        "=",
        ",",
        " ",
        "\t",
        "1",
        "-1e999",
        "NaN",
        "1795183200000",
        "\n",
        "\n",
        "\r\n",
        "é",
        "\0",
        "{le=\"1\"} 2\n",
    ]);
    let soup = prop::collection::vec(words, 0..60).prop_map(|words| words.concat().into_bytes());
    prop_oneof![4 => soup, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// A label text as it is written.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

proptest! {
    #[test]
    fn nothing_makes_reading_panic_and_every_line_is_accounted_for(page in soup(), open in any::<bool>()) {
        let dialect = if open { Dialect::OpenMetrics } else { Dialect::Prometheus };
        let read = read(&page, dialect, TAKEN_US);
        let lines = page.split_inclusive(|byte| *byte == b'\n').count();
        prop_assert!(read.points.len() + read.rejected.len() <= 2 * lines + 1);
        for point in &read.points {
            prop_assert!(!point.fields().is_empty());
        }
        for rejected in &read.rejected {
            prop_assert!(rejected.index as usize <= lines, "{rejected:?}");
        }
    }

    #[test]
    fn what_a_program_tells_is_read(
        name in "[a-z][a-z0-9_]{0,10}x",
        samples in prop::collection::btree_map("[^\\x00]{1,12}", (-1e9..1e9f64, 0..253_402_300_799_i64), 1..20),
        counter in any::<bool>(),
        open in any::<bool>(),
    ) {
        let (kind, word) = if counter { (Kind::Counter, "counter") } else { (Kind::Gauge, "gauge") };
        let full = if counter { format!("{name}_total") } else { name.clone() };
        let family = if counter && !open { &full } else { &name };
        let mut page = format!("# HELP {family} \\n \" }}\n# TYPE {family} {word}\n");
        for (text, (value, seconds)) in &samples {
            let time = if open { format!("{seconds}.5") } else { format!("{seconds}500") };
            writeln!(page, "{full}{{label=\"{}\"}} {value} {time}", escaped(text)).expect("a string");
        }
        if open {
            page.push_str("# EOF\n");
        }
        let read = read(page.as_bytes(), Dialect::of_page(page.as_bytes()), TAKEN_US);
        prop_assert_eq!(&read.rejected, &[]);
        prop_assert_eq!(read.points.len(), samples.len());
        for (point, (text, (value, seconds))) in read.points.iter().zip(&samples) {
            prop_assert_eq!(point.measurement().as_str(), &full);
            prop_assert_eq!(point.kind(), kind);
            prop_assert_eq!(point.tag_text("label"), Some(text.as_str()));
            prop_assert_eq!(point.value("value"), Some(&Value::Float(*value)));
            prop_assert_eq!(point.time_us(), seconds * 1_000_000 + 500_000);
        }
    }

    #[test]
    fn a_histogram_is_one_point_in_whatever_order_its_lines_come(
        counts in prop::collection::btree_map(1..10_000_u32, 0..100_u32, 0..30),
        order in any::<prop::sample::Index>(),
    ) {
        let mut lines: Vec<String> = counts.iter()
            .map(|(bound, count)| format!("h_bucket{{le=\"{bound}\",x=\"y\"}} {count}\n"))
            .collect();
        lines.extend(["h_sum{x=\"y\"} 5\n", "h_count{x=\"y\"} 7\n"].map(str::to_owned));
        let turn = order.index(lines.len());
        lines.rotate_left(turn);
        let page = format!("# TYPE h histogram\n{}", lines.concat());
        let read = read(page.as_bytes(), Dialect::Prometheus, TAKEN_US);
        prop_assert_eq!(&read.rejected, &[]);
        prop_assert_eq!(read.points.len(), 1);
        let point = &read.points[0];
        prop_assert_eq!(point.fields().len(), counts.len() + 2);
        for (bound, count) in counts {
            let value = point.value(&format!("le_{bound}"));
            prop_assert_eq!(value, Some(&Value::Float(count.into())));
        }
    }
}
