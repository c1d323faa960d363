//! The page of the numbers in `/metrics`, made from the tables of agent and sink; the test holds it up
//! to date.

use std::fmt::Write;
use tidegauge_model::Metric;

const HEAD: &str = "<!-- Made from the tables of numbers; rewrite it by `UPDATE_GOLDEN=1 cargo xtask test cli numbers_page`. -->
# Numbers in /metrics

`--listen ADDRESS` serves two pages: `/metrics` in Prometheus' text format, and `/healthz`, which answers 200, or 503 with
the reason in words. Counters begin at 0 with the program. Where `[web]` has a token or users, `/metrics` is for them, and the reason too;
whether all is well is told to everybody ([security.md](security.md#our-own-listeners)).

A sink is not healthy while the database is away, while no broker can be reached, and when something has waited for
longer than `sink.unhealthy_after` without a commit. Gaps that were recorded (`sink.on_lost_messages`) are told there too.

`tidegauge_build_info` has the version and the commit as its labels.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (program, metrics) in [
        ("sink and agent", crate::commands::reload::METRICS),
        ("sink", tidegauge_sink::METRICS),
        ("agent", tidegauge_agent::METRICS),
    ] {
        write!(
            page,
            "\n## {program}\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n"
        )
        .unwrap();
        for metric in metrics {
            page.push_str(&row(metric));
        }
    }
    page
}

fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
    format!(
        "| `{}` | {} | {} | {} |\n",
        metric.name,
        metric.kind.as_str(),
        labels.join(", "),
        metric.help
    )
}

#[test]
fn the_numbers_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        page(),
        "see the head of the page"
    );
}
