use mesh_model::ResourceType;

use crate::support::{ControlPlane, meridian_with, route, routes, top};

#[tokio::test]
async fn resources_are_created_then_left_alone_then_updated() {
    let cp = ControlPlane::start().await;
    let text = format!(
        "{}---\ntype: Mesh\nname: shop\n",
        route("shop", "/", "echo")
    );
    assert_eq!(
        cp.run_with("apply -f -", &text).await.ok(),
        "created Mesh shop\ncreated MeshGatewayRoute default/shop\n"
    );
    assert_eq!(
        cp.run_with("apply -f -", &text).await.ok(),
        "unchanged Mesh shop\nunchanged MeshGatewayRoute default/shop\n"
    );
    let text = text.replace("/\n", "/cart\n");
    assert_eq!(
        cp.run_with("apply -f -", &text).await.ok(),
        "unchanged Mesh shop\nupdated MeshGatewayRoute default/shop\n"
    );
    let shown = cp.run("get meshgatewayroute shop -o yaml").await.ok();
    assert!(shown.contains("value: /cart\n"), "{shown}");
}

#[tokio::test]
async fn the_examples_for_the_global_control_plane_can_be_applied() {
    let cp = ControlPlane::start().await;
    let shown = cp.run("apply -f examples/global").await.ok();
    assert!(
        shown.contains("created MeshGateway default/edge\n"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_mistake_anywhere_keeps_everything_from_being_sent() {
    let cp = ControlPlane::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), route("good", "/", "echo")).unwrap();
    let bad = route("bad", "/", "echo").replace("backends:", "backend:");
    std::fs::write(folder.path().join("b.yaml"), bad).unwrap();
    let line = format!("apply -f {}", folder.path().display());
    let stderr = cp.run(&line).await.failed();
    let expected = format!(
        "{}/b.yaml:14: conf.http.rules[0].backend: unknown field; did you mean \"backends\"?\n",
        folder.path().display()
    );
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert!(stderr.contains("nothing was done"), "{stderr}");
    let snapshot = cp.store.snapshot();
    assert_eq!(snapshot.list(ResourceType::MeshGatewayRoute).count(), 0);
}

#[tokio::test]
async fn a_refusal_names_its_line_and_the_rest_is_applied() {
    let cp = ControlPlane::start().await;
    let text = format!(
        "{}---\n{}",
        route("lost", "/", "echo").replace("mesh: default", "mesh: nowhere"),
        route("fine", "/", "echo")
    );
    let run = cp.run_with("apply -f -", &text).await;
    assert_eq!(run.stdout, "created MeshGatewayRoute default/fine\n");
    let stderr = run.failed();
    assert!(stderr.starts_with("<stdin>:"), "{stderr}");
    assert!(
        stderr.contains("MeshGatewayRoute nowhere/lost was refused"),
        "{stderr}"
    );
    assert!(
        stderr.contains("1 of 2 resources were not applied"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_type_that_this_control_plane_does_not_take_says_so() {
    let cp = ControlPlane::start().await;
    let stderr = cp.run("apply -f examples/zone/gateway.yaml").await.failed();
    assert!(stderr.contains("examples/zone/gateway.yaml:"), "{stderr}");
    assert!(
        stderr.contains("Dataplane default/gateway-1 was refused"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_dry_run_shows_what_would_be_sent() {
    let line = [
        "apply",
        "--dry-run",
        "-f",
        "-",
        "-v",
        "name=from-var",
        "-v",
        "path=/x",
    ];
    let text = route("{{ name }}", "{{path}}", "echo");
    let shown = meridian_with(&line, &format!("---\n{text}---\ntype: Mesh\nname: m\n"))
        .await
        .ok();
    let expected = route("from-var", "/x", "echo");
    let documents: Vec<_> = shown.split("---\n").collect();
    assert_eq!(documents[0], "type: Mesh\nname: m\n");
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(|l| l.replace("- ", "  ")).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(documents[1]), sorted(&expected));
    // What it prints can be applied.
    let again = meridian_with(&["apply", "--dry-run", "-f", "-"], &shown)
        .await
        .ok();
    assert_eq!(again, shown);
}

#[tokio::test]
async fn many_documents_keep_their_order_and_all_arrive() {
    const COUNT: usize = 500;
    let cp = ControlPlane::start().await;
    let shown = cp.run_with("apply -f -", &routes(COUNT)).await.ok();
    let expected: Vec<_> = (0..COUNT)
        .map(|i| format!("created MeshGatewayRoute default/r{i}"))
        .collect();
    assert!(shown.lines().eq(expected.iter().map(String::as_str)));
    let snapshot = cp.store.snapshot();
    assert_eq!(snapshot.list(ResourceType::MeshGatewayRoute).count(), COUNT);
}

#[tokio::test]
async fn without_rights_it_says_how_to_get_them_once() {
    let cp = ControlPlane::start_closed().await;
    let secrets: Vec<_> = (0..100)
        .map(|i| format!("type: GlobalSecret\nname: s{i}\ndata: YQ==\n"))
        .collect();
    let stderr = cp
        .run_with("apply -f -", &secrets.join("---\n"))
        .await
        .failed();
    assert_eq!(stderr.matches("--token-file").count(), 1, "{stderr}");
    assert!(stderr.contains("nothing was applied"), "{stderr}");
}

#[tokio::test]
async fn nothing_to_apply_is_an_error() {
    let stderr = meridian_with(&["apply", "-f", "-"], "# nothing\n")
        .await
        .failed();
    assert!(stderr.contains("no document"), "{stderr}");
    let absent = meridian_with(&["apply", "-f", "absent.yaml"], "")
        .await
        .failed();
    assert!(absent.contains("absent.yaml"), "{absent}");
    assert!(!top().join("absent.yaml").exists());
}

#[tokio::test]
async fn resources_of_every_type_are_applied_shown_and_deleted() {
    let cp = ControlPlane::start().await;
    let recorded = include_str!("../../../shared/api/tests/recorded/types-2.14.jsonl").lines();
    let documents: Vec<serde_json::Value> = recorded
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["server"] == "global")
        .map(|mut line| line["request"].take())
        .collect();
    assert!(documents.len() >= 40, "{}", documents.len());
    let texts: Vec<String> = documents.iter().map(ToString::to_string).collect();
    let yaml = texts.join("\n---\n");
    let run = cp.run_with("apply -f -", &yaml).await;
    assert!(
        run.stderr.contains("does not apply a MeshTimeout yet"),
        "{run:#?}"
    );
    assert!(!run.stderr.contains("apply a MeshGateway yet"), "{run:#?}");
    run.ok();
    let again = cp.run_with("apply -f -", &yaml).await.ok();
    assert_eq!(
        again.matches("unchanged ").count(),
        documents.len(),
        "{again}"
    );

    for document in documents {
        let ty: ResourceType = document["type"].as_str().unwrap().parse().unwrap();
        let name = document["name"].as_str().unwrap();
        let d = ty.describe();
        let list = cp.run(&format!("get {}", d.plural[0])).await.ok();
        assert!(list.contains(name), "{list}");
        if document.get("spec").is_some() {
            let shown = cp
                .run(&format!("get {} {name} -o json", d.singular[0]))
                .await
                .ok();
            let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(shown["spec"], document["spec"], "{ty}");
        }
        if ty != ResourceType::Mesh {
            cp.run(&format!("delete {} {name}", d.singular[0]))
                .await
                .ok();
        }
    }
}
