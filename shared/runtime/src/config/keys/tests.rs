use super::*;

#[test]
fn paths_and_environment_names_are_unique() {
    let count = all().count();
    assert_eq!(INDEX.by_path.len(), count);
    let names: usize = all().map(|key| key.env_names().len()).sum();
    assert_eq!(INDEX.by_env.len(), names);
    for key in all() {
        let path = key.path.to_lowercase();
        assert!(
            !INDEX.sections.contains(&path),
            "{path} is a key and a section"
        );
    }
}

#[test]
fn environment_names_are_those_of_kuma() {
    for (path, name) in [
        ("mode", "KUMA_MODE"),
        ("environment", "KUMA_ENVIRONMENT"),
        ("store.type", "KUMA_STORE_TYPE"),
        ("store.unsafeDelete", "KUMA_STORE_UNSAFE_DELETE"),
        ("store.postgres.dbName", "KUMA_STORE_POSTGRES_DB_NAME"),
        (
            "store.postgres.tls.caPath",
            "KUMA_STORE_POSTGRES_TLS_ROOT_CERT_PATH",
        ),
        (
            "store.postgres.tolerateNewerDBVersions",
            "KUMA_STORE_POSTGRES_TOLERATE_NEWER_DB_VERSIONS",
        ),
        ("general.workDir", "KUMA_GENERAL_WORK_DIR"),
        ("general.dnsCacheTTL", "KUMA_GENERAL_DNS_CACHE_TTL"),
        ("general.tlsCertFile", "KUMA_GENERAL_TLS_CERT_FILE"),
        ("apiServer.http.port", "KUMA_API_SERVER_HTTP_PORT"),
        ("apiServer.https.port", "KUMA_API_SERVER_HTTPS_PORT"),
        (
            "apiServer.authn.localhostIsAdmin",
            "KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN",
        ),
        (
            "apiServer.authn.tokens.bootstrapAdminToken",
            "KUMA_API_SERVER_AUTHN_TOKENS_BOOTSTRAP_ADMIN_TOKEN",
        ),
        (
            "apiServer.auth.clientCertsDir",
            "KUMA_API_SERVER_AUTH_CLIENT_CERTS_DIR",
        ),
        (
            "apiServer.corsAllowedDomains",
            "KUMA_API_SERVER_CORS_ALLOWED_DOMAINS",
        ),
        ("dpServer.port", "KUMA_DP_SERVER_PORT"),
        (
            "meridian.gateway.routeTreeThreshold",
            "KUMA_MERIDIAN_GATEWAY_ROUTE_TREE_THRESHOLD",
        ),
        (
            "dpServer.authn.dpProxy.type",
            "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE",
        ),
        ("diagnostics.serverPort", "KUMA_DIAGNOSTICS_SERVER_PORT"),
        (
            "multizone.global.kds.grpcPort",
            "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT",
        ),
        (
            "multizone.global.kds.tlsEnabled",
            "KUMA_MULTIZONE_GLOBAL_KDS_TLS_ENABLED",
        ),
        (
            "multizone.global.kds.zoneHealthCheck.pollInterval",
            "KUMA_MULTIZONE_GLOBAL_KDS_ZONE_HEALTH_CHECK_POLL_INTERVAL",
        ),
        (
            "multizone.global.kds.disableSOTW",
            "KUMA_MULTIZONE_GLOBAL_KDS_DISABLE_SOTW",
        ),
        ("multizone.zone.name", "KUMA_MULTIZONE_ZONE_NAME"),
        (
            "multizone.zone.globalAddress",
            "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS",
        ),
        (
            "multizone.zone.kds.rootCaFile",
            "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE",
        ),
        (
            "multizone.zone.kds.tlsSkipVerify",
            "KUMA_MULTIZONE_ZONE_KDS_TLS_SKIP_VERIFY",
        ),
        (
            "defaults.skipMeshCreation",
            "KUMA_DEFAULTS_SKIP_MESH_CREATION",
        ),
        (
            "defaults.SkipHostnameGenerators",
            "KUMA_DEFAULTS_SKIP_HOSTNAME_GENERATORS",
        ),
        (
            "experimental.kubeOutboundsAsVIPs",
            "KUMA_EXPERIMENTAL_KUBE_OUTBOUNDS_AS_VIPS",
        ),
        ("experimental.gatewayAPI", "KUMA_EXPERIMENTAL_GATEWAY_API"),
        (
            "experimental.kdsSyncNameWithHashSuffix",
            "KUMA_EXPERIMENTAL_KDS_SYNC_NAME_WITH_HASH_SUFFIX",
        ),
        ("dnsServer.CIDR", "KUMA_DNS_SERVER_CIDR"),
        (
            "policies.pluginPoliciesEnabled",
            "KUMA_PLUGIN_POLICIES_ENABLED",
        ),
        (
            "access.static.viewConfigDump.users",
            "KUMA_ACCESS_STATIC_GET_CONFIG_DUMP_USERS",
        ),
        (
            "proxy.gateway.globalDownstreamMaxConnections",
            "KUMA_PROXY_GATEWAY_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS",
        ),
        (
            "runtime.kubernetes.clientConfig.qps",
            "KUMA_RUNTIME_KUBERNETES_CLIENT_CONFIG_QPS",
        ),
    ] {
        let Found::Key(key) = find(path) else {
            panic!("{path} is not in the table");
        };
        assert_eq!(key.path, path);
        assert_eq!(key.env_names()[0], name);
        assert_eq!(find_env(name).map(|key| key.path), Some(path));
    }
}

#[test]
fn every_default_is_a_value_of_its_kind() {
    for key in all() {
        let default = key.default();
        let checked = crate::config::value::from_file(key, &default);
        assert_eq!(checked.as_ref(), Ok(&default), "{}", key.path);
    }
}

#[test]
fn every_reason_reads_as_the_end_of_a_sentence() {
    for key in all() {
        match key.status {
            Status::Accepted(why) => {
                assert!(why.starts_with("is ") || why.starts_with("has "), "{why}");
            }
            Status::Refused(why) => assert!(!why.ends_with('.'), "{why}"),
            Status::Implemented | Status::Fixed => {}
        }
    }
}

#[test]
fn an_unknown_name_finds_its_nearest_neighbour() {
    for (wrong, meant) in [
        ("apiServer.http.prt", Some("apiServer.http.port")),
        ("apiSever", Some("apiServer")),
        (
            "multizone.zone.globalAdress",
            Some("multizone.zone.globalAddress"),
        ),
        // The right name in the wrong section.
        ("apiServer.workDir", Some("general.workDir")),
        ("port", Some("apiServer.http.port")),
        ("completely.different", None),
    ] {
        let nearest = nearest_path(wrong);
        if wrong == "port" {
            assert!(nearest.is_some_and(|path| path.ends_with(".port")));
        } else {
            assert_eq!(nearest.as_deref(), meant, "{wrong}");
        }
    }
    assert_eq!(
        nearest_env("KUMA_API_SERVER_HTP_PORT").as_deref(),
        Some("KUMA_API_SERVER_HTTP_PORT")
    );
    assert_eq!(nearest_env("KUMA_SOMETHING_ELSE_ALTOGETHER"), None);
}
