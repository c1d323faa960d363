//! The manifests of `deploy/kubernetes` are accepted by the schemas of Kubernetes.

use std::fs;

use tidegauge_testkit::Clients;

use crate::run::root;

#[test]
fn kubernetes_accepts_the_manifests_and_all_are_listed() {
    let test = "xtask: Kubernetes accepts the manifests";
    let Some(clients) = Clients::of_environment(test) else {
        return;
    };
    let folder = root().join("deploy/kubernetes");
    let list = fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
    let mut judged = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        // The list itself is of kubectl, and has no schema.
        if name != "kustomization.yaml" {
            clients.validate_manifest(&file);
            assert!(list.contains(&format!("  - {name}\n")), "{name}");
            judged += 1;
        }
    }
    assert_eq!(
        judged,
        list.matches("\n  - ").count() - list.matches("\n  - name:").count()
    );
}
