//! Scenario 10 where there is no engine: the compose file and the manifests of Kubernetes are what their schemas
//! want, and all that they run is run as it stands, on real servers that have the settings of the compose file.

use crate::containers::{Container, Image, PROGRAM, Probe, Running, repository};
use crate::program::{PATIENCE, command, number};
use serde_json::Value;
use std::collections::BTreeMap;
use tidegauge_testkit::servers::{
    Distribution, KafkaOptions, KafkaServer, MariadbOptions, MariadbServer, PostgresOptions,
    PostgresServer, free_port,
};
use tidegauge_testkit::{
    Clients, eventually, kafka, mysql_query, postgres_database, postgres_query, random_topic,
};

fn text(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("a text: {value}")).to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array();
    let all = all.unwrap_or_else(|| panic!("a list: {value}"));
    all.iter().map(text).collect()
}

fn map(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

/// A container of the compose file. `FOLDER:PLACE:MODE` is a folder of this machine, a word before the colon a volume.
fn of_compose(service: &Value, image: &Image, servers: &[(String, String)]) -> Container {
    let own = &service["healthcheck"]["test"];
    let probe = match own.as_array() {
        Some(_) => texts(own)[1..].to_vec(),
        None => image.health_check(),
    };
    let volumes = service["volumes"].as_array().cloned().unwrap_or_default();
    let mut replaced = servers.to_vec();
    for volume in volumes.iter().map(text) {
        let [folder, place, ..] = volume.split(':').collect::<Vec<_>>()[..] else {
            panic!("{volume}");
        };
        if folder.starts_with('/') {
            replaced.push((place.to_owned(), folder.to_owned()));
        }
    }
    Container {
        arguments: texts(&service["command"]),
        environment: map(&service["environment"]),
        probe: Probe::Command(probe),
        replaced,
    }
}

#[test]
fn the_compose_file_keeps_its_schema_and_what_is_promised_of_it() {
    let test = "deployed::the_compose_file_keeps_its_schema_and_what_is_promised_of_it";
    let Some(clients) = Clients::of_environment(test) else {
        return;
    };
    let file = repository("compose.yaml");
    clients.validate_compose(&file);
    let compose: Vec<Value> = serde_json::from_str(&clients.documents(&file)).unwrap();
    let services = compose[0]["services"].as_object().unwrap();
    let pom = std::fs::read_to_string(repository("services/pom.xml")).unwrap();
    let of_tests = |what: &str| {
        let (_, rest) = pom.split_once(&format!("<{what}.version>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    for (name, service) in services {
        let image = text(&service["image"]);
        let (repository, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image}"));
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        assert!(tag.split('.').all(is_number), "{image} is not pinned");
        match repository {
            "apache/kafka" => assert_eq!(tag, of_tests("kafka")),
            "postgres" => assert_eq!(format!("{tag}.0"), of_tests("postgres")),
            "mariadb" => assert_eq!(tag, of_tests("mariadb")),
            "tidegauge" => assert_eq!(tag, env!("CARGO_PKG_VERSION")),
            _ => {}
        }
        for port in texts(service.get("ports").unwrap_or(&Value::Array(Vec::new()))) {
            assert!(port.starts_with("127.0.0.1:"), "{name} is open: {port}");
        }
        let wanted = service["depends_on"].as_object().into_iter().flatten();
        for (other, _) in wanted {
            assert!(services.contains_key(other), "{name} needs {other}");
        }
        if repository == "tidegauge" {
            assert_eq!(service["read_only"], true, "{name}");
            assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
            assert_eq!(texts(&service["profiles"]), ["tidegauge"], "{name}");
        } else {
            assert!(
                service["healthcheck"]["test"].is_array(),
                "{name} has no check, so --wait waits for nothing"
            );
        }
    }
}

/// A broker as the image makes one of the environment: `KAFKA_A_B` is the property `a.b`.
fn kafka_of(service: &Value, distribution: &Distribution) -> (KafkaServer, String) {
    let ports = ["9092", "19092", "9093"].map(|inside| (inside, free_port()));
    let property = |(name, value): (&String, &String)| {
        let key = name
            .strip_prefix("KAFKA_")
            .unwrap()
            .replace('_', ".")
            .to_lowercase();
        let mut value = value.replace("://kafka:", "://127.0.0.1:");
        for (inside, free) in ports {
            value = value.replace(&format!(":{inside}"), &format!(":{free}"));
        }
        format!("{key}={value}")
    };
    let options = KafkaOptions {
        port: Some(ports[1].1),
        properties: map(&service["environment"]).iter().map(property).collect(),
        ..KafkaOptions::default()
    };
    let server = KafkaServer::start(distribution, &options).unwrap();
    (server, format!("127.0.0.1:{}", ports[0].1))
}

#[test]
fn all_that_the_compose_file_runs_works_together() {
    let test = "deployed::all_that_the_compose_file_runs_works_together";
    let Some(distribution) = Distribution::of_environment(test) else {
        return;
    };
    let Some(clients) = Clients::of_environment(test) else {
        return;
    };
    let compose = clients.documents(&repository("compose.yaml"));
    let compose: Vec<Value> = serde_json::from_str(&compose).unwrap();
    let services = &compose[0]["services"];

    let (broker, inside) = kafka_of(&services["kafka"], &distribution);
    let [_, switch, setting] = &texts(&services["postgres"]["command"])[..] else {
        panic!("{}", services["postgres"]["command"]);
    };
    assert_eq!(switch, "-c");
    let options = PostgresOptions {
        settings: vec![setting.clone()],
        ..PostgresOptions::default()
    };
    let server = PostgresServer::start(&distribution, &options).unwrap();
    let name = text(&services["postgres"]["environment"]["POSTGRES_DB"]);
    postgres_query(server.url(), &format!("create database {name}")).unwrap();
    let shown = postgres_query(server.url(), "show max_connections").unwrap();
    assert!(setting.ends_with(&format!("={}", shown[0][0].as_ref().unwrap())));
    let [_, setting] = &texts(&services["mariadb"]["command"])[..] else {
        panic!("{}", services["mariadb"]["command"]);
    };
    let options = MariadbOptions {
        settings: vec![setting.clone()],
        ..MariadbOptions::default()
    };
    if let Some(mariadb) = MariadbServer::start(&distribution, &options).unwrap() {
        let shown = mysql_query(&mariadb.url(), "select @@max_connections").unwrap();
        assert!(setting.ends_with(&format!("={}", shown[0][0].as_ref().unwrap())));
    }

    let image = Image::read();
    let url = text(&services["sink"]["environment"]["TIDEGAUGE_STORE_URL"]);
    // A server of this file has no TLS, and a host that is not this one is not asked without by itself.
    let doctor = ["doctor", "--format", "json", "--store", &url];
    let told = command(&doctor).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("the connection is not encrypted"), "{told}");
    let replaced = [
        ("kafka:9092".to_owned(), inside),
        (
            "@postgres:5432".to_owned(),
            format!("@127.0.0.1:{}", server.port()),
        ),
    ];
    let start = |name: &str| of_compose(&services[name], &image, &replaced).start(&image);
    let (agent, sink) = (start("agent"), start("sink"));
    for running in [&agent, &sink] {
        running.wait_until_healthy();
    }
    let dashboard = start("dashboard");
    dashboard.wait_until_healthy();
    let rows = "select count(*) from memory";
    let (address, _) = server.url().rsplit_once('/').unwrap();
    let database = format!("{address}/{name}");
    eventually(PATIENCE, "samples arrive", || {
        let found = postgres_query(&database, rows).ok()?;
        (found[0][0].as_deref() != Some("0")).then_some(())
    });
    assert!(dashboard.page().contains("<html"), "{}", dashboard.page());
    end([agent, sink, dashboard]);
    drop(broker);
}

fn end(all: [Running; 3]) {
    for running in all {
        let said = running.terminate();
        assert!(!said.contains("ERROR"), "{said}");
    }
}

/// The first document of a manifest, which is what runs.
fn manifest(clients: &Clients, name: &str) -> Value {
    let file = repository("deploy/kubernetes").join(name);
    let documents: Vec<Value> = serde_json::from_str(&clients.documents(&file)).unwrap();
    documents.into_iter().next().unwrap()
}

#[test]
fn all_that_the_manifests_of_kubernetes_run_works_together() {
    let test = "deployed::all_that_the_manifests_of_kubernetes_run_works_together";
    let Some(brokers) = kafka(test) else { return };
    let Some(database) = postgres_database(test) else {
        return;
    };
    let Some(clients) = Clients::of_environment(test) else {
        return;
    };
    let topic = random_topic("kubernetes");
    let configuration = manifest(&clients, "configuration.yaml");
    let secret = manifest(&clients, "secret.yaml");
    let mounted = tempfile::tempdir().unwrap();
    for (name, content) in map(&configuration["data"]) {
        let content = content.replace("kafka:9092", &brokers);
        std::fs::write(mounted.path().join(name), content).unwrap();
    }
    let image = Image::read();
    let start = |name: &str| {
        let pod = manifest(&clients, name)["spec"]["template"]["spec"].clone();
        let container = of_pod(&pod, &configuration, &secret);
        let mut replaced = container.replaced.clone();
        replaced.push((
            "/etc/tidegauge".to_owned(),
            mounted.path().display().to_string(),
        ));
        // The database is whatever the cluster has, here one without TLS.
        let url = container.environment.get("TIDEGAUGE_STORE_URL").cloned();
        replaced.extend(url.map(|url| (url, database.url.clone())));
        let mut environment = container.environment.clone();
        // One of the tests' own, because others are on the same broker.
        environment.insert("TIDEGAUGE_KAFKA_TOPIC".to_owned(), topic.clone());
        environment.insert("TIDEGAUGE_SINK_GROUP".to_owned(), topic.clone());
        let container = Container {
            environment,
            replaced,
            ..container
        };
        container.start(&image)
    };
    let (agent, sink) = (start("agent.yaml"), start("sink.yaml"));
    for running in [&agent, &sink] {
        running.wait_until_healthy();
    }
    let rows = || number(&database, "select count(*) from memory").filter(|rows| *rows > 0);
    eventually(PATIENCE, "samples arrive", rows);
    let hosts = database.query("select name from host").unwrap();
    assert_eq!(hosts, [[Some("of-the-node".to_owned())]]);
    let dashboard = start("dashboard.yaml");
    dashboard.wait_until_healthy();
    assert!(dashboard.page().contains("<html"), "{}", dashboard.page());
    end([agent, sink, dashboard]);
}

/// The container of a pod; what its variables and volumes refer to must be there.
fn of_pod(pod: &Value, configuration: &Value, secret: &Value) -> Container {
    let [container] = &pod["containers"].as_array().unwrap()[..] else {
        panic!("one container: {pod}");
    };
    let mut environment = BTreeMap::new();
    for variable in container["env"].as_array().unwrap() {
        let from = &variable["valueFrom"];
        let value = if let Some(reference) = from.get("secretKeyRef") {
            assert_eq!(reference["name"], secret["metadata"]["name"]);
            text(&secret["stringData"][text(&reference["key"])])
        } else if let Some(field) = from.get("fieldRef") {
            assert_eq!(field["fieldPath"], "spec.nodeName");
            "of-the-node".to_owned()
        } else {
            text(&variable["value"])
        };
        environment.insert(text(&variable["name"]), value);
    }
    let mut replaced = Vec::new();
    let none = Vec::new();
    let volumes = pod["volumes"].as_array().unwrap_or(&none);
    for mount in container["volumeMounts"].as_array().unwrap_or(&none) {
        let volume = volumes.iter().find(|one| one["name"] == mount["name"]);
        let volume = volume.unwrap_or_else(|| panic!("no volume for {mount}"));
        if let Some(of_map) = volume.get("configMap") {
            assert_eq!(of_map["name"], configuration["metadata"]["name"]);
        } else if mount["name"] != "state" {
            let path = text(&volume["hostPath"]["path"]);
            replaced.push((text(&mount["mountPath"]), path));
        }
    }
    let asked = &container["readinessProbe"];
    let probe = match asked.get("httpGet") {
        Some(page) => {
            let ports = container["ports"].as_array().unwrap();
            let port = ports.iter().find(|port| port["name"] == page["port"]);
            let port = &port.unwrap()["containerPort"];
            assert!(environment["TIDEGAUGE_GENERAL_LISTEN"].ends_with(&format!(":{port}")));
            Probe::Page(text(&page["path"]))
        }
        None => Probe::Command(texts(&asked["exec"]["command"])),
    };
    Container {
        arguments: texts(&container["args"]),
        environment,
        probe,
        replaced,
    }
}

#[test]
fn the_services_of_one_program_have_its_checks() {
    let image = Image::read();
    assert_eq!(image.entry_point(), [PROGRAM]);
    assert_eq!(image.health_check()[..2], [PROGRAM, "check"]);
}
