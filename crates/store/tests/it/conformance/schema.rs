//! Cases of D9 and D14: migrations, tables that grow between steps, and what is refused.

use super::Subject;
use super::building::{
    TestPoint, Writer, agent_host, as_rows, committed, moved, point, requirements, stored,
};
use tidegauge_model::{Kind, Limits, Reason, ValueType, catalog};
use tidegauge_store::{ErrorClass, FieldColumn, SeriesSlot};

pub(crate) async fn migrating_twice_is_harmless(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [point("load", 0).field("load1", 1.0)];
    writer.commit(0..1, &points).await;
    writer.store.migrate().await.expect("again");
    subject.store().migrate().await.expect("by another");
    assert_eq!(writer.position(0).await, Some(1));
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&points));
}

pub(crate) async fn two_programs_may_migrate_at_once(subject: &impl Subject) {
    let mut stores = [subject.store(), subject.store(), subject.store()];
    let migrations = stores.iter_mut().map(|store| store.migrate());
    for migrated in futures_util::future::join_all(migrations).await {
        migrated.expect("one does it, the others wait");
    }
    Writer::open(subject)
        .await
        .commit(0..1, &[point("load", 0).field("load1", 1.0)])
        .await;
}

pub(crate) async fn a_newer_schema_is_refused(subject: &impl Subject) {
    drop(Writer::open(subject).await);
    subject.execute(&subject.newer_schema_sql()).await;
    let error = subject.store().migrate().await.expect_err("newer");
    assert_eq!(error.class(), ErrorClass::Usage, "{error:?}");
}

pub(crate) async fn a_migration_with_another_text_is_refused(subject: &impl Subject) {
    drop(Writer::open(subject).await);
    subject.execute(&subject.other_schema_sql()).await;
    let error = subject.store().migrate().await.expect_err("another text");
    assert_eq!(error.class(), ErrorClass::Usage, "{error:?}");
    assert!(format!("{error:?}").contains("another text"), "{error:?}");
}

async fn take_back_to_version_one(subject: &impl Subject) {
    for sql in subject.first_schema_sql() {
        subject.execute(&sql).await;
    }
}

pub(crate) async fn a_store_of_version_one_is_brought_up_to_date(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [
        point("load", 0).field("load1", 1.0),
        point("load", 1).field("load1", 2.0),
    ];
    let check = point("http_check", 0).tag("target", "shop");
    let before = [points[0].clone(), check.field("up", true)];
    writer.commit(0..1, &before).await;
    drop(writer);
    take_back_to_version_one(subject).await;
    subject.reader().losses().await.expect_err("no such view");
    let mut writer = Writer::open(subject).await;
    let checks = subject.rows("select checks from uptime").await;
    assert_eq!(checks, [[Some("1".to_owned())]]);
    writer.commit(1..2, &points[1..]).await;
    assert_eq!(subject.reader().losses().await.expect("losses"), []);
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&points));
}

pub(crate) async fn a_measurement_of_a_name_that_is_kept_now_stops_the_migration(
    subject: &impl Subject,
) {
    drop(Writer::open(subject).await);
    take_back_to_version_one(subject).await;
    let sql = "insert into measurement (name, kind, description, keyed)
               values ('gap', 'gauge', '', false)";
    subject.execute(sql).await;
    let error = subject.store().migrate().await.expect_err("kept");
    assert_eq!(error.class(), ErrorClass::Usage, "{error:?}");
    assert!(
        format!("{error:?}").contains("a measurement gap"),
        "{error:?}"
    );
    subject
        .execute("update measurement set name = 'my_gap' where name = 'gap'")
        .await;
    subject.store().migrate().await.expect("it is free now");
}

pub(crate) async fn a_new_field_appears_between_steps(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let mut points = vec![
        point("load", 0).field("load1", 1.0),
        point("load", 1).field("load1", 1.0).field("load5", 2.0),
        point("load", 2).field("note", "a text").field("load5", 3.0),
        point("load", 3).field("fine", true).tag("zone", "b"),
    ];
    for (offset, point) in (0..).zip(&points) {
        let point = std::slice::from_ref(point);
        writer.commit(offset..offset + 1, point).await;
    }
    let known = writer.measurement("load");
    let columns: Vec<&str> = known.fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(columns, ["load1", "load5", "note", "fine"], "in order");
    assert_eq!(known.tags, ["zone"]);
    // A step that was built against fewer columns still goes (and another writer may be late).
    let mut late = Writer::open(subject).await;
    points.push(point("load", 4).field("load1", 9.0));
    late.commit(4..5, &points[4..]).await;
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&points));
}

pub(crate) async fn two_writers_may_ensure_the_same_at_once(subject: &impl Subject) {
    let mut writers = [Writer::open(subject).await, Writer::open(subject).await];
    for round in 0..4 {
        let points: Vec<TestPoint> = (0..6)
            .map(|n| {
                let host = agent_host(&format!("a{round}"), "web");
                point(&format!("m{round}_{}", n % 2), 0)
                    .host(host)
                    .tag("n", &n.to_string())
                    .field(&format!("f{n}"), 1.0)
            })
            .collect();
        let [first, second] = &mut writers;
        tokio::join!(first.ensure(&points), second.ensure(&points));
        for point in &points {
            assert_eq!(first.series(point), second.series(point));
            let name = &point.measurement;
            assert_eq!(first.measurement(name).id, second.measurement(name).id);
            assert_eq!(first.measurement(name).fields.len(), 3);
        }
        let offset = i64::from(round);
        first.commit(offset..offset + 1, &points).await;
    }
}

pub(crate) async fn the_schema_changes_under_load(subject: &impl Subject) {
    let (mut loading, mut changing) = (Writer::open(subject).await, Writer::open(subject).await);
    let points: Vec<TestPoint> = (0..20)
        .map(|n| point("load", n).field("load1", 1.0))
        .collect();
    loading.ensure(&points[..1]).await;
    let load = async {
        for (offset, point) in (0..).zip(&points) {
            let point = std::slice::from_ref(point);
            loading.commit(offset..offset + 1, point).await;
        }
    };
    let change = async {
        for n in 0..10 {
            let field = point("load", 0).field(&format!("f{n}"), true);
            let measurement = point(&format!("m{n}"), 0).field("x", 1.0);
            changing.ensure(&[field, measurement]).await;
        }
    };
    let read = async {
        let reader = subject.reader();
        for _ in 0..10 {
            stored(&reader, "load").await;
        }
    };
    tokio::join!(load, change, read);
    assert_eq!(changing.measurement("load").fields.len(), 11);
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&points));
}

pub(crate) async fn ensuring_again_answers_the_same(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let point = point("load", 0).tag("b", "1").tag("a", "2").field("x", 1.0);
    writer.ensure(std::slice::from_ref(&point)).await;
    let (series, known) = (writer.series(&point), writer.measurement("load"));
    assert_eq!(known.tags, ["a", "b"]);
    assert!(!known.keyed);
    writer.catalog.clear();
    writer.ensure(std::slice::from_ref(&point)).await;
    assert_eq!(writer.series(&point), series);
    assert_eq!(writer.measurement("load"), known);
}

pub(crate) async fn the_first_type_of_a_field_stays(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    writer.ensure(&[point("load", 0).field("load1", 1.0)]).await;
    writer
        .ensure(&[point("load", 0).field("load1", "one")])
        .await;
    let first = FieldColumn {
        name: "load1".to_owned(),
        value_type: ValueType::Float,
    };
    assert_eq!(writer.measurement("load").fields, [first]);
}

pub(crate) async fn the_kind_is_what_the_first_sender_said(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    for (told, further) in [(Kind::Counter, "value"), (Kind::Timer, "more")] {
        let points = [
            point("jobs", 0).field(further, 1.0).field("note", "x"),
            point("load", 0).field("load1", 1.0).field("more", 1.0),
        ];
        let mut needs = requirements(&points);
        for need in needs.measurements.values_mut() {
            need.kind = Some(told);
        }
        let (store, catalog) = (&mut writer.store, &mut writer.catalog);
        store.ensure(&needs, catalog).await.expect("ensured");
    }
    let known = subject.reader().measurements().await.expect("measurements");
    let told: Vec<_> = (known.iter())
        .map(|known| {
            let fields = known.fields.iter();
            let mut fields: Vec<_> = fields.map(|f| (f.name.as_str(), f.kind)).collect();
            fields.sort_unstable();
            (known.name.as_str(), known.kind, fields)
        })
        .collect();
    let (counter, gauge) = (Kind::Counter, Kind::Gauge);
    let jobs = vec![("more", counter), ("note", gauge), ("value", counter)];
    let load = vec![("load1", gauge), ("more", gauge)];
    assert_eq!(told, [("jobs", counter, jobs), ("load", gauge, load)]);
}

pub(crate) async fn reserved_names_are_refused(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    for name in ["ledger", "m_cpu", "pg_class", "sqlite_x"] {
        let point = point(name, 0).field("x", 1.0);
        writer.ensure(std::slice::from_ref(&point)).await;
        let known = writer.catalog.measurement(name).expect("learned");
        assert_eq!(known, &Err(Reason::ReservedName), "{name}");
        let slot = SeriesSlot::Refused(Reason::ReservedName);
        assert_eq!(writer.slot(&point), slot, "{name}");
    }
    let fields = catalog::RESERVED_FIELDS;
    let mut points = vec![point("load", 0).field("load1", 1.0)];
    for name in fields {
        points[0] = points[0].clone().field(name, 1.0).tag(name, "text");
    }
    writer.ensure(&points).await;
    let known = writer.measurement("load");
    assert_eq!(known.fields.len(), 1);
    for name in fields {
        assert_eq!(known.refused.get(*name), Some(&Reason::ReservedName));
    }
    // Tags of such names are fine, and words of SQL are names like any other.
    let fine = [point("select", 0)
        .field("order", 1.0)
        .field("group", true)
        .tag("where", "x")
        .tag("order", "collides with the field")
        .tag("time", "noon")
        .tag("tag_order", "collides with the collision's name")];
    writer.commit(0..1, &fine).await;
    assert_eq!(stored(&subject.reader(), "select").await, as_rows(&fine));
}

pub(crate) async fn limits_are_kept(subject: &impl Subject) {
    let limits = Limits {
        measurements: 2,
        fields_per_measurement: 2,
        series_per_host: 3,
        ..Limits::default()
    };
    let mut writer = Writer::open_with(subject, limits).await;
    let many = point("one", 0)
        .field("f1", 1.0)
        .field("f2", 1.0)
        .field("f3", 1.0);
    writer
        .ensure(&[many, point("two", 0).field("x", 1.0)])
        .await;
    let one = writer.measurement("one");
    assert_eq!(one.fields.len(), 2);
    assert_eq!(one.refused.get("f3"), Some(&Reason::TooManyFields));
    // What is refused stays known as refused when something else is asked for.
    writer
        .ensure(&[point("one", 0).field("f1", 1.0).tag("t", "1")])
        .await;
    assert_eq!(writer.measurement("one").refused.len(), 1);

    let third = point("three", 0).field("x", 1.0);
    writer.ensure(std::slice::from_ref(&third)).await;
    let known = writer.catalog.measurement("three").expect("learned");
    assert_eq!(known, &Err(Reason::TooManyMeasurements));
    let refused = SeriesSlot::Refused(Reason::TooManyMeasurements);
    assert_eq!(writer.slot(&third), refused);

    // Three series of the host are there; a fourth is refused, other hosts are not concerned.
    let fourth = point("one", 0).field("f1", 1.0).tag("t", "2");
    let other = fourth.clone().host(agent_host("agent-2", "web-2"));
    writer.ensure(&[fourth.clone(), other.clone()]).await;
    let refused = SeriesSlot::Refused(Reason::TooManySeries);
    assert_eq!(writer.slot(&fourth), refused);
    writer.series(&other);
    let known = [point("one", 0).field("f1", 1.0).tag("t", "1"), other];
    writer.commit(0..1, &known).await;
}

pub(crate) async fn what_is_stored_survives_reopening(subject: &impl Subject) {
    let points = [
        point("load", 0).field("load1", 1.0),
        point("load", 1).field("load1", 2.0),
    ];
    let mut writer = Writer::open(subject).await;
    writer.commit(0..1, &points[..1]).await;
    let series = writer.series(&points[0]);
    drop(writer);
    let mut writer = Writer::open(subject).await;
    assert_eq!(writer.position(0).await, Some(1));
    let step = writer.step(vec![moved(1..2)], &points[1..]).await;
    assert_eq!(step.blocks[0].key(0).series, series, "the same number");
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
    drop(writer);
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&points));
}
