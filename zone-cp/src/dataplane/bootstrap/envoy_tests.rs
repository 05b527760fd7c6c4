use mesh_proto::mesh::EnvoyAdmin;
use mesh_proto::mesh::dataplane::Networking;
use mesh_proto::mesh::dataplane::networking::{Gateway, gateway::GatewayType};

use super::*;

struct Recorded {
    request: Request,
    bootstrap: Value,
}

fn recorded(text: &str) -> Recorded {
    let recorded: Value = serde_json::from_str(text).unwrap();
    Recorded {
        request: Request::parse(recorded["request"].to_string().as_bytes()).unwrap(),
        bootstrap: recorded["bootstrap"].clone(),
    }
}

fn recorded_2_14() -> Recorded {
    recorded(include_str!(
        "../../../tests/recorded/bootstrap-2.14-gateway.json"
    ))
}

fn recorded_2_5() -> Recorded {
    recorded(include_str!(
        "../../../tests/recorded/bootstrap-2.5-gateway.json"
    ))
}

fn gateway(admin_port: u32) -> Dataplane {
    Dataplane {
        networking: Some(Networking {
            address: "127.0.0.1".to_owned(),
            gateway: Some(Gateway {
                tags: [(tags::SERVICE.to_owned(), "edge-gateway".to_owned())].into(),
                r#type: GatewayType::Builtin.into(),
            }),
            admin: Some(EnvoyAdmin { port: admin_port }),
            ..Networking::default()
        }),
        ..Dataplane::default()
    }
}

fn generate(request: &Request) -> Value {
    generate_for("127.0.0.1", false, request)
}

fn generate_for(host: &str, is_ipv4_only: bool, request: &Request) -> Value {
    let control_plane = ControlPlane {
        host,
        is_ipv4_only,
        ca: b"-----BEGIN CERTIFICATE-----\nMI",
    };
    let params = Params {
        xds_port: 9778,
        ..Params::default()
    };
    bootstrap(request, &gateway(24905), control_plane, &params)
}

/// What we do otherwise than the recorded control planes, on purpose.
fn with_our_changes(mut bootstrap: Value) -> Value {
    let fields = bootstrap.as_object_mut().unwrap();
    fields.remove("hdsConfig").unwrap();
    let ads = &mut bootstrap["dynamicResources"]["adsConfig"];
    ads["apiType"] = json!("DELTA_GRPC");
    ads["grpcServices"][0]["envoyGrpc"]["retryPolicy"] =
        json!({"retryBackOff": {"baseInterval": "0.1s", "maxInterval": "1s"}});
    bootstrap
}

#[test]
fn a_2_14_agent_gets_what_it_got_before_but_for_our_changes() {
    let recorded = recorded_2_14();
    assert_eq!(
        generate(&recorded.request),
        with_our_changes(recorded.bootstrap)
    );
}

#[test]
fn a_2_5_agent_gets_its_metadata_its_sockets_and_the_newer_overload_manager() {
    let recorded = recorded_2_5();
    let mut expected = with_our_changes(recorded.bootstrap);
    let newer = recorded_2_14().bootstrap;
    for field in ["layeredRuntime", "overloadManager", "defaultRegexEngine"] {
        expected[field] = newer[field].clone();
    }
    assert_eq!(generate(&recorded.request), expected);
}

#[test]
fn without_a_token_no_authorization_is_sent() {
    let request = Request {
        dataplane_token: String::new(),
        ..recorded_2_14().request
    };
    let service = &generate(&request)["dynamicResources"]["adsConfig"]["grpcServices"][0];
    assert_eq!(service.get("initialMetadata"), None);
}

#[test]
fn a_socket_path_that_is_too_long_gives_a_tcp_admin() {
    let request = Request {
        workdir: format!("/{}", "d".repeat(90)),
        ..recorded_2_14().request
    };
    let bootstrap = generate(&request);
    let address = json!({"socketAddress": {"address": "127.0.0.1", "portValue": 24905}});
    assert_eq!(bootstrap["admin"]["address"], address);
    let metadata = &bootstrap["node"]["metadata"];
    assert_eq!(metadata.get("dataplane.admin.socketPath"), None);
}

#[test]
fn a_dataplane_without_admin_port_gets_the_default_one() {
    let recorded = recorded_2_5();
    let control_plane = ControlPlane {
        host: "127.0.0.1",
        is_ipv4_only: false,
        ca: b"",
    };
    let params = Params::default();
    let bootstrap = bootstrap(&recorded.request, &gateway(0), control_plane, &params);
    let address = &bootstrap["admin"]["address"]["socketAddress"];
    assert_eq!(address["portValue"], 9901);
    assert_eq!(
        bootstrap["node"]["metadata"]["dataplane.admin.port"],
        "9901"
    );
}

#[test]
fn a_memory_limit_makes_envoy_shed_load_before_it_is_killed() {
    let mut request = recorded_2_14().request;
    request.resources.max_heap_size_bytes = 1 << 30;
    let manager = &generate(&request)["overloadManager"];
    let monitors = manager["resourceMonitors"].as_array().unwrap();
    assert_eq!(monitors.len(), 2);
    assert_eq!(monitors[0]["typedConfig"]["maxHeapSizeBytes"], "1073741824");
    assert_eq!(
        manager["actions"],
        json!([
            {
                "name": "envoy.overload_actions.shrink_heap",
                "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": 0.95}}],
            },
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": 0.98}}],
            },
        ])
    );
}

#[test]
fn a_host_name_is_resolved_by_envoy() {
    let request = recorded_2_14().request;
    for (host, is_ipv4_only, kind, family) in [
        ("127.0.0.1", true, "STATIC", None),
        ("::1", false, "STATIC", None),
        ("zone.example", false, "STRICT_DNS", None),
        ("zone.example", true, "STRICT_DNS", Some("V4_ONLY")),
        ("localhost", true, "STRICT_DNS", Some("V4_PREFERRED")),
    ] {
        let bootstrap = generate_for(host, is_ipv4_only, &request);
        let cluster = &bootstrap["staticResources"]["clusters"][1];
        assert_eq!(cluster["type"], kind, "{host}");
        let found = cluster.get("dnsLookupFamily").and_then(Value::as_str);
        assert_eq!(found, family, "{host}");
    }
}

#[test]
fn versions_of_other_programs_stand_beside_the_agents() {
    let mut request = recorded_2_5().request;
    request.dynamic_metadata = [
        (
            "version.dependencies.coredns".to_owned(),
            "1.11.3".to_owned(),
        ),
        ("rack".to_owned(), "7".to_owned()),
    ]
    .into();
    let metadata = &generate(&request)["node"]["metadata"];
    assert_eq!(
        metadata["version"]["dependencies"],
        json!({"coredns": "1.11.3"})
    );
    assert_eq!(metadata["dynamicMetadata"], json!(request.dynamic_metadata));
}

#[test]
fn socket_paths_are_cut_by_characters() {
    assert_eq!(
        socket_path("/run/x", "kuma-al", "name.namespace", "mesh"),
        "/run/x/kuma-al-name.namespace-mesh.sock"
    );
    let cut = socket_path("/run/ü", "kuma-al", &"n".repeat(200), "mesh");
    assert_eq!(cut.chars().count(), 98 + ".sock".len());
}

#[test]
fn durations_are_those_of_protobuf_json() {
    assert_eq!(proto_duration(Duration::from_secs(1)), "1s");
    assert_eq!(proto_duration(Duration::from_millis(250)), "0.250000000s");
}
