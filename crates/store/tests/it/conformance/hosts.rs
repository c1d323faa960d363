//! Cases of identity: an agent is a host, its name and labels are properties.

use super::Subject;
use super::building::{TestPoint, Writer, agent_host, point, requirements, stored};
use tidegauge_store::{HostInfo, HostKey};

fn load(host: &HostKey, seconds: i64) -> TestPoint {
    point("load", seconds)
        .field("load1", 1.0)
        .host(host.clone())
}

async fn hosts(subject: &impl Subject) -> Vec<HostInfo> {
    subject.reader().hosts().await.expect("hosts")
}

pub(crate) async fn two_agents_of_one_name_stay_apart(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let keys = ["a1", "a2", ""].map(|agent| agent_host(agent, "web"));
    let points: Vec<TestPoint> = keys.iter().map(|key| load(key, 0)).collect();
    writer.commit(0..1, &points).await;
    let found = hosts(subject).await;
    let mut identities: Vec<&str> = found.iter().map(|host| host.identity.as_str()).collect();
    identities.sort_unstable();
    assert_eq!(identities, ["agent:a1", "agent:a2", "name:web"]);
    assert!(found.iter().all(|host| host.name == "web"));
    assert!(found.iter().all(|host| host.first_seen_us > 0));
    assert_eq!(stored(&subject.reader(), "load").await.len(), 3);
    for key in &keys {
        let known = writer.catalog.host(&key.identity()).expect("learned");
        let info = found.iter().find(|host| host.identity == key.identity());
        assert_eq!(info.expect("listed").id, known.id);
    }
}

pub(crate) async fn a_renamed_agent_keeps_its_number(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let (old, new) = (agent_host("a1", "old-name"), agent_host("a1", "new-name"));
    writer.commit(0..1, &[load(&old, 0)]).await;
    let before = hosts(subject).await;
    writer.commit(1..2, &[load(&new, 1)]).await;
    let after = hosts(subject).await;
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].id, before[0].id);
    assert_eq!(after[0].name, "new-name");
    assert_eq!(after[0].first_seen_us, before[0].first_seen_us);
    assert_eq!(
        writer.catalog.host("agent:a1").expect("known").name,
        "new-name"
    );
    let series = (writer.series(&load(&old, 0)), writer.series(&load(&new, 0)));
    assert_eq!(series.0, series.1, "its series goes on");
    assert_eq!(stored(&subject.reader(), "load").await.len(), 2);
}

pub(crate) async fn labels_are_brought_up_to_date(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let host = agent_host("a1", "web");
    let points = [load(&host, 0)];
    let labels = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    };
    for pairs in [
        labels(&[("env", "prod"), ("rack", "4\" \\ 'é\n")]),
        labels(&[("env", "test")]),
        labels(&[]),
    ] {
        let mut needs = requirements(&points);
        needs.hosts.insert(host.clone(), pairs.clone());
        let ensured = writer.store.ensure(&needs, &mut writer.catalog).await;
        ensured.expect("ensured");
        let known = writer.catalog.host("agent:a1").expect("learned");
        assert_eq!(known.labels, pairs);
        assert_eq!(hosts(subject).await[0].labels, pairs);
    }
}
