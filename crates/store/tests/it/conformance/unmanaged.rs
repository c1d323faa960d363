//! Cases of a schema that somebody else manages: the printed SQL is what is needed, and what is not in
//! it is said, never made.

use super::Subject;
use super::building::{Writer, as_rows, point, source, stored};
use tidegauge_model::{Limits, Reason, catalog};
use tidegauge_store::{
    Catalog, ErrorClass, MeasurementNeed, OpenOptions, Requirements, SeriesSlot, Store, open_store,
    schema_sql,
};

/// A store that makes no tables.
fn unmanaged(subject: &impl Subject) -> Box<dyn Store> {
    let options = OpenOptions {
        manage_schema: false,
        ..OpenOptions::default()
    };
    open_store(&subject.url(), &options).expect("the URL is right")
}

/// A writer that makes no tables, on the schema that is printed.
async fn writer(subject: &impl Subject) -> Writer {
    let script = schema_sql(&subject.url()).expect("the URL is right");
    subject.execute(&script).await;
    if let Some(sql) = subject.partitions_sql() {
        subject.execute(&sql).await;
    }
    let mut store = unmanaged(subject);
    store.migrate().await.expect("nothing is missing");
    let begun = store.positions(&source(), &[(0, 0)]).await;
    begun.expect("positions");
    Writer {
        store,
        catalog: Catalog::new(Limits::default()),
    }
}

pub(crate) async fn the_printed_schema_is_the_one_that_is_needed(subject: &impl Subject) {
    let mut writer = writer(subject).await;
    let points = [
        point("load", 0).field("load1", 1.0).field("tasks", 7.0),
        point("cpu", 0)
            .tag("cpu", "total")
            .field("user_percent", 3.5),
    ];
    writer.commit(0..1, &points).await;
    for (at, name) in ["load", "cpu"].into_iter().enumerate() {
        let rows = as_rows(&points[at..=at]);
        assert_eq!(stored(&subject.reader(), name).await, rows, "{name}");
    }
    // A program that manages the schema finds nothing to do.
    let mut managing = subject.store();
    managing.migrate().await.expect("up to date");
    let mut needs = Requirements::default();
    for entry in catalog::measurements() {
        let fields = entry.fields.iter();
        let need = MeasurementNeed {
            fields: fields.map(|f| (f.name.to_owned(), f.value_type)).collect(),
            tags: entry.tags.iter().map(|tag| tag.name.to_owned()).collect(),
            ..MeasurementNeed::default()
        };
        needs.measurements.insert(entry.name.to_owned(), need);
    }
    let before = subject.reader().measurements().await.expect("measurements");
    let mut catalog = Catalog::new(Limits::default());
    managing
        .ensure(&needs, &mut catalog)
        .await
        .expect("ensured");
    let after = subject.reader().measurements().await.expect("measurements");
    assert_eq!(before, after);
    assert_eq!(before.len(), needs.measurements.len());
}

pub(crate) async fn what_is_not_in_it_is_refused_with_that_reason(subject: &impl Subject) {
    let mut writer = writer(subject).await;
    let point = |name: &str| point(name, 0).field("load1", 1.0);
    let other = point("other");
    let more = point("load").field("more", 2.0).tag("rack", "7");
    writer.ensure(&[other.clone(), more.clone()]).await;
    let refused = writer.catalog.measurement("other").expect("learned");
    assert_eq!(refused, &Err(Reason::NotInSchema));
    assert_eq!(
        writer.slot(&other),
        SeriesSlot::Refused(Reason::NotInSchema)
    );
    let load = writer.measurement("load");
    assert_eq!(load.refused.get("more"), Some(&Reason::NotInSchema));
    assert_eq!(load.column("more"), None);
    // A tag needs no column of its own.
    let fine = point("load").tag("rack", "7");
    writer.commit(0..1, std::slice::from_ref(&fine)).await;
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&[fine]));
}

pub(crate) async fn tables_that_are_not_there_are_waited_for(subject: &impl Subject) {
    let mut store = unmanaged(subject);
    let error = store.migrate().await.expect_err("no tables");
    assert_eq!(error.class(), ErrorClass::Outage, "{error:?}");
    drop(Writer::open(subject).await);
    store.migrate().await.expect("they are there");
    let known = store.known_positions(&source()).await.expect("known");
    assert_eq!(known.len(), 1);
}
