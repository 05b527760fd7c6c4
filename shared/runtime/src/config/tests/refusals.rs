//! Configurations that must not start a program.

use super::*;

#[test]
fn what_would_open_a_door_or_lose_data_is_refused() {
    for (name, value, part) in [
        ("KUMA_STORE_TYPE", "postgres", "not supported yet"),
        ("KUMA_STORE_TYPE", "kubernetes", "not supported yet"),
        ("KUMA_ENVIRONMENT", "kubernetes", "not supported yet"),
        ("KUMA_API_SERVER_AUTHN_TYPE", "adminClientCerts", "client"),
        ("KUMA_API_SERVER_READ_ONLY", "true", "writable"),
        (
            "KUMA_API_SERVER_HTTPS_REQUIRE_CLIENT_CERT",
            "true",
            "client",
        ),
        ("KUMA_API_SERVER_HTTPS_TLS_CA_FILE", "/ca", "client"),
        ("KUMA_API_SERVER_AUTH_CLIENT_CERTS_DIR", "/certs", "client"),
        (
            "KUMA_API_SERVER_HTTPS_TLS_MIN_VERSION",
            "TLSv1_3",
            "TLS 1.2",
        ),
        ("KUMA_GENERAL_TLS_MAX_VERSION", "TLSv1_2", "TLS 1.3"),
        ("KUMA_GENERAL_TLS_CIPHER_SUITES", "A,B", "cipher"),
        (
            "KUMA_API_SERVER_AUTHN_TOKENS_VALIDATOR_USE_SECRETS",
            "false",
            "secrets",
        ),
        (
            "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE",
            "serviceAccountToken",
            "Kubernetes",
        ),
        ("KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE", "none", "token"),
        ("KUMA_ACCESS_STATIC_ADMIN_RESOURCES_USERS", "bob", "rules"),
        ("KUMA_ACCESS_TYPE", "opa", "static"),
        ("KUMA_DIAGNOSTICS_TLS_ENABLED", "true", "TLS"),
        ("KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "jwt", "cpToken"),
        (
            "KUMA_MULTIZONE_GLOBAL_KDS_ALLOW_UNAUTHENTICATED_ZONES",
            "East!",
            "neither a zone name nor",
        ),
    ] {
        let problem = one_problem(Kind::Global, "", &[(name, value)]);
        assert!(problem.starts_with(name), "{problem}");
        assert!(problem.contains(part), "{problem}");
    }
    let yaml = "\
apiServer:
  authn:
    tokens:
      validator:
        publicKeys:
        - kid: '1'
          key: not-to-be-shown
";
    let problem = one_problem(Kind::Global, yaml, &[]);
    assert!(problem.starts_with("cp.yaml:5: apiServer.authn.tokens.validator.publicKeys"));
    assert!(!problem.contains("not-to-be-shown"), "{problem}");
}

#[test]
fn the_mode_must_fit_the_program() {
    let mode = |kind, mode| one_problem(kind, "", &[("KUMA_MODE", mode)]);
    assert_eq!(
        mode(Kind::Zone, "global"),
        "KUMA_MODE: \"global\" does not fit this program, zone-cp: start global-cp instead"
    );
    assert!(mode(Kind::Global, "zone").contains("start zone-cp"));
    let standalone = mode(Kind::Zone, "standalone");
    assert!(standalone.contains("runs alone"), "{standalone}");
    assert_eq!(
        loaded(Kind::Global, "mode: global", &[]).config.mode,
        Mode::Global
    );
    assert_eq!(loaded(Kind::Global, "", &[]).config.mode, Mode::Global);
}

#[test]
fn zone_name_and_global_address_are_checked() {
    let problem = one_problem(Kind::Zone, "", &[("KUMA_MULTIZONE_ZONE_NAME", "Zone_1")]);
    assert!(
        problem.contains("\"Zone_1\" is not a zone name"),
        "{problem}"
    );
    let address = |text| [("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", text)];
    let problem = one_problem(Kind::Zone, "", &address("http://g:5685"));
    assert!(problem.contains("grpcs://"), "{problem}");
    let config = loaded(Kind::Zone, "", &address("grpcs://g:5685")).config;
    let global = config.multizone.zone.global_address.unwrap();
    assert_eq!(
        (global.is_tls(), global.host(), global.port()),
        (true, "g", 5685)
    );
}

#[test]
fn a_root_ca_must_be_there_and_hold_certificates_where_it_is_used() {
    let not_pem = file("nothing");
    let not_pem = not_pem.path().to_str().unwrap();
    let zone = |ca, scheme| {
        vec![
            ("KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE", ca),
            ("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", scheme),
        ]
    };
    let missing = one_problem(Kind::Zone, "", &zone("/nowhere/ca.crt", "grpcs://g:1"));
    assert!(
        missing
            .starts_with("KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE: /nowhere/ca.crt: cannot be read"),
        "{missing}"
    );
    let empty = one_problem(Kind::Zone, "", &zone(not_pem, "grpcs://g:1"));
    assert!(empty.contains("no certificate"), "{empty}");
    loaded(Kind::Zone, "", &zone(not_pem, "grpc://g:1"));
    loaded(Kind::Global, "", &zone(not_pem, "grpcs://g:1"));
    let mut skip = zone(not_pem, "grpcs://g:1");
    skip.push(("KUMA_MULTIZONE_ZONE_KDS_TLS_SKIP_VERIFY", "true"));
    loaded(Kind::Zone, "", &skip);

    let params = rcgen::CertificateParams::new(vec!["g".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let good = file(&params.self_signed(&key).unwrap().pem());
    loaded(
        Kind::Zone,
        "",
        &zone(good.path().to_str().unwrap(), "grpcs://g:1"),
    );
}

#[test]
fn things_that_belong_together_must_both_be_set() {
    let alone = [("KUMA_GENERAL_TLS_CERT_FILE", "/c")];
    assert_eq!(
        one_problem(Kind::Global, "", &alone),
        "KUMA_GENERAL_TLS_CERT_FILE: needs general.tlsKeyFile beside it"
    );
    let poll = [(
        "KUMA_MULTIZONE_GLOBAL_KDS_ZONE_HEALTH_CHECK_POLL_INTERVAL",
        "5s",
    )];
    assert!(one_problem(Kind::Global, "", &poll).contains("timeout"));
    let zero = [("KUMA_XDS_SERVER_DATAPLANE_STATUS_FLUSH_INTERVAL", "0s")];
    assert!(one_problem(Kind::Zone, "", &zero).contains("above zero"));
}

#[test]
fn a_zone_has_one_token() {
    let problem = one_problem(
        Kind::Zone,
        "",
        &[
            ("KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE", "hidden"),
            ("KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", "/token"),
        ],
    );
    assert!(problem.contains("set one of them"), "{problem}");
    assert!(!problem.contains("hidden"), "{problem}");
}
