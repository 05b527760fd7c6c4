use super::*;

fn check(text: &str) -> Result<Vec<String>, Vec<String>> {
    check_files(&[("f.yaml", text)])
}

fn check_files(files: &[(&str, &str)]) -> Result<Vec<String>, Vec<String>> {
    let sources: Vec<_> = files
        .iter()
        .map(|(name, text)| Source {
            name: Arc::from(*name),
            text: (*text).to_owned(),
        })
        .collect();
    parse_all(&sources, &[])
        .map(|items| items.iter().map(Item::to_string).collect())
        .map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

const GATEWAY: &str = "\
type: MeshGateway
mesh: default
name: edge
selectors:
- match:
    kuma.io/service: edge
conf:
  listeners:
  - port: 8080
    protocol: HTTP
";

#[test]
fn documents_of_several_files_come_in_order() {
    let text =
        format!("---\n# nothing\n---\n{GATEWAY}---\n{{\"type\": \"Mesh\", \"name\": \"a\"}}\n");
    assert_eq!(
        check_files(&[("a.yaml", &text), ("b.yaml", "type: Zone\nname: east\n")]),
        Ok(vec![
            "MeshGateway default/edge".to_owned(),
            "Mesh a".to_owned(),
            "Zone east".to_owned()
        ])
    );
}

#[test]
fn what_is_sent_is_what_was_written() {
    let sources = [Source {
        name: "f.yaml".into(),
        text: format!("{GATEWAY}labels: {{team: web}}\n"),
    }];
    let items = parse_all(&sources, &[]).unwrap();
    assert_eq!(
        items[0].to_document(),
        serde_json::json!({
            "type": "MeshGateway", "mesh": "default", "name": "edge",
            "labels": {"team": "web"},
            "selectors": [{"match": {"kuma.io/service": "edge"}}],
            "conf": {"listeners": [{"port": 8080, "protocol": "HTTP"}]},
        })
    );
}

#[test]
fn each_mistake_has_its_line_and_a_way_out() {
    let gateway = |from: &str, to: &str| {
        assert!(GATEWAY.contains(from), "{from}");
        GATEWAY.replacen(from, to, 1)
    };
    for (text, expected) in [
        (
            gateway("port:", "prot:"),
            "f.yaml:9: conf.listeners[0].prot: unknown field; did you mean \"port\"?",
        ),
        (
            gateway("conf:", "config:"),
            "f.yaml:7: config: unknown field; did you mean \"conf\"?",
        ),
        (
            gateway("port: 8080", "port: 99999"),
            "f.yaml:9: conf.listeners[0].port: port must be in the range [1, 65535]",
        ),
        (
            gateway("type: MeshGateway", "type: MeshGatway"),
            "f.yaml:1: type: unknown resource type \"MeshGatway\"; did you mean \"MeshGateway\"?",
        ),
        (
            gateway("type: MeshGateway", "type: Gateway"),
            "f.yaml:1: type: unknown resource type \"Gateway\"; did you mean \"MeshGateway\"?",
        ),
        (
            gateway("type: MeshGateway\n", ""),
            "f.yaml:1: has no `type:`; there are Mesh, MeshGateway",
        ),
        (
            gateway("mesh: default\n", ""),
            "f.yaml:1: mesh: every MeshGateway belongs to a mesh",
        ),
        (
            gateway("name: edge\n", ""),
            "f.yaml:1: name: every MeshGateway needs a name",
        ),
        (gateway("name: edge", "name: Edge_1"), "f.yaml:3: name: "),
        (gateway("mesh: default", "mesh: De"), "f.yaml:2: mesh: "),
        (
            gateway("protocol: HTTP", "protocol: HTPT"),
            "f.yaml:10: conf.listeners[0].protocol: ",
        ),
        (
            gateway("port: 8080", "port: many"),
            "f.yaml:9: conf.listeners[0].port: ",
        ),
        (
            gateway("kuma.io/service: edge", "version: v1"),
            "f.yaml:5: selectors[0].match: ",
        ),
        (
            gateway("conf:", "labels: {'a b': c}\nconf:"),
            "f.yaml:7: labels[\"a b\"]: ",
        ),
        (
            format!("{GATEWAY}---\n{GATEWAY}"),
            "f.yaml:14: name: MeshGateway default/edge is described twice, first at f.yaml:1",
        ),
        ("type: [Mesh\nname: a\n".to_owned(), "f.yaml:2:"),
        ("type: Mesh\n\tname: a\n".to_owned(), "f.yaml:1:7: "),
        ("type: Mesh\nname: {{ mesh }}\n".to_owned(), "f.yaml:2:"),
        ("just text\n".to_owned(), "f.yaml:1: this is not a resource"),
        (
            "- type: Mesh\n".to_owned(),
            "f.yaml:1: this is not a resource",
        ),
        (
            "type: 7\nname: a\n".to_owned(),
            "f.yaml:1: type: expected a string",
        ),
        (
            "type: DataplaneInsight\nmesh: default\nname: a\n".to_owned(),
            "f.yaml:1: type: DataplaneInsight is written by control planes only",
        ),
        (
            "type: Zone\nmesh: default\nname: a\n".to_owned(),
            "f.yaml:2: mesh: a Zone belongs to no mesh",
        ),
        (
            "apiVersion: kuma.io/v1alpha1\nkind: MeshGateway\nmesh: default\n".to_owned(),
            "f.yaml:2: kind: this is a Kubernetes object",
        ),
    ] {
        let problems = check(&text).expect_err(&text);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(
            problems[0].starts_with(expected),
            "{}\nexpected: {expected}",
            problems[0]
        );
    }
}

#[test]
fn a_hole_without_a_variable_gets_a_hint() {
    let problems = check("type: Mesh\nname: {{ mesh }}\n").unwrap_err();
    assert!(problems[0].contains("-v name=value"), "{problems:?}");
}

#[test]
fn everything_wrong_is_found_at_once() {
    let two = GATEWAY
        .replace("port:", "prot:")
        .replace("name: edge", "name: E");
    let problems = check_files(&[("a.yaml", &two), ("b.yaml", "type: Meh\n")]).unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(problems[2].starts_with("b.yaml:1:"), "{problems:#?}");
}

#[test]
fn one_of_two_alternatives_is_not_called_unknown() {
    let text = "\
type: Secret
mesh: default
name: s
data: YQ==
Data: YQ==
";
    let problems = check(text).unwrap_err();
    assert!(
        problems[0].starts_with("f.yaml:5: Data: unknown field"),
        "{problems:?}"
    );
    let both = "\
type: MeshGatewayRoute
mesh: default
name: r
selectors: [{match: {kuma.io/service: edge}}]
conf:
  tcp: {rules: []}
  http:
    hostnames: []
";
    let problems = check(both).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("together with"), "{problems:?}");
}
