use std::io::Write as _;

use serde_json::json;

use super::*;

mod refusals;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let home = [("HOME", "/home/op")];
    home.iter()
        .chain(pairs)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn file(yaml: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    file
}

fn try_load(kind: Kind, yaml: &str, pairs: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let file = file(yaml);
    load(kind, Some(file.path()), env(pairs).into_iter())
}

fn loaded(kind: Kind, yaml: &str, pairs: &[(&str, &str)]) -> Loaded {
    try_load(kind, yaml, pairs).unwrap()
}

/// Every problem, the file's name left out.
fn problems(kind: Kind, yaml: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let file = file(yaml);
    match load(kind, Some(file.path()), env(pairs).into_iter()) {
        Err(ConfigError::Invalid { problems }) => problems
            .iter()
            .map(|p| p.replace(&file.path().display().to_string(), "cp.yaml"))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn one_problem(kind: Kind, yaml: &str, pairs: &[(&str, &str)]) -> String {
    let problems = problems(kind, yaml, pairs);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap()
}

#[test]
fn defaults_are_those_of_kuma_with_our_store() {
    let Loaded { config, warnings } = load(Kind::Zone, None, env(&[]).into_iter()).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.mode, Mode::Zone);
    assert_eq!(config.store.type_, StoreType::Sled);
    assert_eq!(config.general.work_dir, Path::new("/home/op/.kuma"));
    assert_eq!(config.api_server.http.port, 5681);
    assert_eq!(config.api_server.http.interface.to_string(), "0.0.0.0");
    assert_eq!(config.api_server.https.port, 5682);
    assert!(config.api_server.authn.localhost_is_admin);
    assert_eq!(config.dp_server.port, 5678);
    assert_eq!(
        config.dp_server.authn.dp_proxy.type_,
        ProxyAuthentication::DpToken
    );
    assert_eq!(config.diagnostics.server_port, 5680);
    assert_eq!(config.multizone.global.kds.grpc_port, 5685);
    assert_eq!(config.multizone.global.kds.max_msg_size, 10 * 1024 * 1024);
    assert_eq!(
        config.multizone.global.kds.auth.type_,
        ZoneAuthentication::CpToken
    );
    assert!(
        config
            .multizone
            .global
            .kds
            .allow_unauthenticated_zones
            .is_empty()
    );
    assert_eq!(config.multizone.zone.kds.auth.cp_token_path, None);
    assert_eq!(config.multizone.zone.name.as_str(), "default");
    assert_eq!(config.multizone.zone.global_address, None);
    assert_eq!(
        config.proxy.gateway.global_downstream_max_connections,
        50_000
    );
    assert_eq!(
        config.xds_server.dataplane_status_flush_interval,
        std::time::Duration::from_secs(10)
    );
    assert_eq!(config.api_tls_files(), None);
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let yaml = "apiServer:\n  http:\n    port: 1001\n  https:\n    port: 1002\n";
    let file = file(&format!("{yaml}dpServer:\n  port: 1003\n"));
    let sources = Sources {
        file: Some(file.path().to_owned()),
        env: env(&[
            ("KUMA_API_SERVER_HTTP_PORT", "2001"),
            ("KUMA_API_SERVER_HTTPS_PORT", "2002"),
        ]),
        flags: [("apiServer.http.port".to_owned(), "3001".to_owned())].into(),
    };
    let config = load_from(Kind::Global, &sources).unwrap().config;
    assert_eq!(config.api_server.http.port, 3001);
    assert_eq!(config.api_server.https.port, 2002);
    assert_eq!(config.dp_server.port, 1003);
    assert_eq!(config.diagnostics.server_port, 5680);
}

#[test]
fn the_keys_of_the_table_and_of_the_schema_are_the_same() {
    let paths = |value: &Value| {
        fn walk(value: &Value, path: &str, paths: &mut Vec<String>) {
            match value {
                Value::Object(entries) if !entries.is_empty() => {
                    for (name, value) in entries {
                        let dot = if path.is_empty() { "" } else { "." };
                        walk(value, &format!("{path}{dot}{name}"), paths);
                    }
                }
                _ => paths.push(path.to_owned()),
            }
        }
        let mut paths = Vec::new();
        walk(value, "", &mut paths);
        paths.sort();
        paths
    };
    let address = [("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", "grpc://g:1")];
    let config = load(Kind::Zone, None, env(&address).into_iter())
        .unwrap()
        .config;
    let mut implemented: Vec<_> = keys::all()
        .filter(|key| key.status == keys::Status::Implemented)
        .map(|key| key.path.to_owned())
        .collect();
    implemented.sort();
    assert_eq!(paths(&serde_json::to_value(&config).unwrap()), implemented);

    // What is shown has every key that there is.
    let mut all: Vec<_> = keys::all().map(|key| key.path.to_owned()).collect();
    all.sort();
    assert_eq!(paths(&config.to_json()), all);
}

#[test]
fn every_key_can_be_set_to_its_default_in_a_file_and_in_the_environment() {
    let document = loaded(Kind::Zone, "", &[]).config.to_json();
    let yaml = document.to_string().replace(MASK, "kuma");
    let Loaded { config, warnings } = loaded(Kind::Zone, &yaml, &[]);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.to_json(), document);

    let mut variables = env(&[]);
    for key in keys::all() {
        let text = match key.default() {
            Value::String(text) => text,
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().unwrap())
                .collect::<Vec<_>>()
                .join(","),
            Value::Object(_) => String::new(),
            other => other.to_string(),
        };
        for name in key.env_names() {
            variables.insert(name.into_owned(), text.clone());
        }
    }
    let Loaded { config, warnings } = load(Kind::Zone, None, variables.into_iter()).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.to_json(), document);
}

#[test]
fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_name() {
    let yaml = "\
mode: zone
apiServer:
  http:
    port: 1
    prot: 2
workDir: /tmp
store.type: memory
general: 5
meridian:
  anything: 1
";
    assert_eq!(
        problems(Kind::Zone, yaml, &[]),
        [
            "cp.yaml:5: apiServer.http.prot is not a known key; did you mean apiServer.http.port?",
            "cp.yaml:6: workDir is not a known key; did you mean general.workDir?",
            "cp.yaml:7: store.type must be written as nested keys, not with dots",
            "cp.yaml:8: general must be a mapping",
            "cp.yaml:10: meridian.anything is not a known key",
        ]
    );
}

#[test]
fn letter_case_of_keys_does_not_matter_as_in_kuma() {
    let yaml = "apiserver:\n  HTTP:\n    port: 7\ndefaults:\n  skipHostnameGenerators: false\n";
    assert_eq!(loaded(Kind::Zone, yaml, &[]).config.api_server.http.port, 7);
    let twice = "apiServer: {http: {port: 1}}\napiserver: {http: {port: 2}}\n";
    assert!(one_problem(Kind::Zone, twice, &[]).contains("cp.yaml:2"));
}

#[test]
fn a_wrong_value_is_shown_with_its_place_and_what_is_allowed() {
    let yaml = "dpServer:\n  port: 70000\nmetrics:\n  zone:\n    idleTimeout: 5\n";
    let env = [("KUMA_API_SERVER_HTTP_PORT", "http")];
    assert_eq!(
        problems(Kind::Zone, yaml, &env),
        [
            "cp.yaml:2: dpServer.port: 70000 is not a port, a number from 0 to 65535",
            "cp.yaml:5: metrics.zone.idleTimeout: 5 is not a duration such as \"10s\" or \
             \"1h30m\" (with a unit: \"5s\")",
            "KUMA_API_SERVER_HTTP_PORT: \"http\" is not a port, a number from 0 to 65535",
        ]
    );
    let error = try_load(Kind::Zone, yaml, &env).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 4, "{error}");
}

#[test]
fn a_known_key_without_effect_gives_one_warning_unless_it_has_its_default() {
    let yaml = "apiServer:\n  gui:\n    enabled: false\n    basePath: /gui\n";
    let env = [
        ("KUMA_MULTIZONE_ZONE_KDS_REFRESH_INTERVAL", "5s"),
        (
            "KUMA_XDS_SERVER_DATAPLANE_CONFIGURATION_REFRESH_INTERVAL",
            "1000ms",
        ),
    ];
    let warnings = loaded(Kind::Zone, yaml, &env).warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings
            .iter()
            .any(|w| w.starts_with("KUMA_MULTIZONE_ZONE_KDS_REFRESH_INTERVAL has no effect"))
    );
    assert!(warnings.iter().any(|w| {
        w.ends_with(":3: apiServer.gui.enabled is not implemented yet and has no effect")
    }));
}

#[test]
fn unknown_variables_give_one_warning_and_service_links_none() {
    let warnings = loaded(
        Kind::Zone,
        "",
        &[
            ("KUMA_CONTROL_PLANE_SERVICE_HOST", "10.0.0.1"),
            ("KUMA_CONTROL_PLANE_SERVICE_PORT", "5681"),
            ("KUMA_CONTROL_PLANE_SERVICE_PORT_HTTP_API", "5681"),
            ("KUMA_CONTROL_PLANE_PORT", "tcp://10.0.0.1:5681"),
            ("KUMA_CONTROL_PLANE_PORT_5681_TCP", "tcp://10.0.0.1:5681"),
            ("KUMA_CONTROL_PLANE_PORT_5681_TCP_ADDR", "10.0.0.1"),
            ("KUMA_API_SERVER_HTP_PORT", "1"),
            ("KUMA_WHATEVER_THIS_MAY_BE", "1"),
            ("PATH", "/bin"),
        ],
    )
    .warnings;
    assert_eq!(
        warnings,
        [
            "unknown environment variables have no effect: KUMA_API_SERVER_HTP_PORT (did you \
             mean KUMA_API_SERVER_HTTP_PORT?), KUMA_WHATEVER_THIS_MAY_BE"
        ]
    );
}

#[test]
fn a_service_link_in_place_of_a_port_has_no_effect() {
    let link = [("KUMA_DP_SERVER_PORT", "tcp://10.0.0.1:5678")];
    let Loaded { config, warnings } = loaded(Kind::Zone, "", &link);
    assert_eq!(config.dp_server.port, 5678);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_server_without_its_own_certificate_has_the_general_one() {
    let config = loaded(
        Kind::Global,
        "general: {tlsCertFile: /c, tlsKeyFile: /k}\ndpServer: {tlsCertFile: /dc, tlsKeyFile: /dk}",
        &[],
    )
    .config;
    assert_eq!(
        config.api_tls_files(),
        Some((Path::new("/c"), Path::new("/k")))
    );
    assert_eq!(
        config.kds_tls_files(),
        Some((Path::new("/c"), Path::new("/k")))
    );
    assert_eq!(
        config.dp_server_tls_files(),
        Some((Path::new("/dc"), Path::new("/dk")))
    );
}

#[test]
fn small_things_are_put_in_order() {
    let config = loaded(
        Kind::Global,
        "apiServer: {basePath: kuma/}\nproxy: {gateway: {globalDownstreamMaxConnections: 0}}\n\
         general:\ndefaults: {skipMeshCreation: ~}",
        &[("KUMA_DP_SERVER_PORT", "")],
    )
    .config;
    assert_eq!(config.api_server.base_path, "/kuma");
    assert_eq!(
        config.proxy.gateway.global_downstream_max_connections,
        50_000
    );
    assert_eq!(config.dp_server.port, 5678);
}

#[test]
fn without_a_home_a_work_directory_must_be_given() {
    let error = load(Kind::Global, None, std::iter::empty()).unwrap_err();
    assert!(error.to_string().contains("KUMA_GENERAL_WORK_DIR"));
}

#[test]
fn secrets_are_masked_wherever_the_configuration_is_shown() {
    let Loaded { config, warnings } = loaded(
        Kind::Global,
        "",
        &[("KUMA_STORE_POSTGRES_PASSWORD", "hunter2")],
    );
    let json = config.to_json();
    assert_eq!(json["store"]["postgres"]["password"], json!("*****"));
    let everything = format!("{json} {config:?} {warnings:?}");
    assert!(!everything.contains("hunter2"));
}

#[test]
fn what_is_shown_follows_changes_and_has_the_names_of_a_file() {
    let mut config = loaded(Kind::Zone, "", &[]).config;
    config.general.tls_cert_file = Some("/made/kuma-cp.crt".into());
    let json = config.to_json();
    assert_eq!(json["general"]["tlsCertFile"], json!("/made/kuma-cp.crt"));
    assert_eq!(json["general"]["tlsMinVersion"], json!("TLSv1_2"));
    assert_eq!(json["metrics"]["zone"]["idleTimeout"], json!("5m0s"));
    assert_eq!(json["multizone"]["zone"].get("globalAddress"), None);
}

#[test]
fn unreadable_files_say_which() {
    let missing = load(
        Kind::Zone,
        Some(Path::new("/nowhere/cp.yaml")),
        env(&[]).into_iter(),
    );
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("/nowhere/cp.yaml")
    );
    assert!(matches!(
        try_load(Kind::Zone, "a: [", &[]),
        Err(ConfigError::Yaml { .. })
    ));
    let two = one_problem(Kind::Zone, "mode: zone\n---\nmode: zone\n", &[]);
    assert!(two.starts_with("cp.yaml:3: a second document"), "{two}");
    assert!(one_problem(Kind::Zone, "[]", &[]).contains("must be a mapping"));
}

#[test]
fn who_may_speak_for_a_zone_is_said_in_the_words_of_kuma_and_of_kong_mesh() {
    let yaml = "\
multizone:
  global:
    kds:
      auth: {type: none}
      allowUnauthenticatedZones: [east, '*']
";
    let kds = loaded(Kind::Global, yaml, &[]).config.multizone.global.kds;
    assert_eq!(kds.auth.type_, ZoneAuthentication::None);
    assert_eq!(kds.allow_unauthenticated_zones, ["east", "*"]);

    let list = (
        "KUMA_MULTIZONE_GLOBAL_KDS_ALLOW_UNAUTHENTICATED_ZONES",
        "east, west",
    );
    for prefix in ["KUMA", "KMESH"] {
        let ty = format!("{prefix}_MULTIZONE_GLOBAL_KDS_AUTH_TYPE");
        let loaded = loaded(Kind::Global, "", &[list, (&ty, "none")]);
        assert_eq!(loaded.warnings, [""; 0]);
        let kds = loaded.config.multizone.global.kds;
        assert_eq!(kds.auth.type_, ZoneAuthentication::None, "{prefix}");
        assert_eq!(kds.allow_unauthenticated_zones, ["east", "west"]);
    }
}

#[test]
fn the_token_of_a_zone_is_read_and_never_shown() {
    for prefix in ["KUMA", "KMESH"] {
        let inline = format!("{prefix}_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE");
        let config = loaded(Kind::Zone, "", &[(&inline, "not-to-be-shown")]).config;
        let token = &config.multizone.zone.kds.auth.cp_token_inline;
        assert_eq!(token.expose(), "not-to-be-shown");
        let shown = format!("{config:?} {}", config.to_json());
        assert!(!shown.contains("not-to-be-shown"), "{shown}");
        assert!(shown.contains("\"cpTokenInline\":\"*****\""), "{shown}");

        let path = format!("{prefix}_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH");
        let config = loaded(Kind::Zone, "", &[(&path, "/token")]).config;
        let path = config.multizone.zone.kds.auth.cp_token_path;
        assert_eq!(path.as_deref(), Some(Path::new("/token")));
    }
}
