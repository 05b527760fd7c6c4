use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use crate::json::{decode_spec, encode_spec, nearest_field, parse_body};
use crate::resource_type::ResourceType;
use crate::spec::Spec;

/// JSON that is likely to hit fields: keys are drawn from names that exist.
fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        4 => prop::sample::select(vec![
            "selectors", "match", "conf", "listeners", "http", "tcp", "rules", "matches", "path", "value",
            "filters", "mirror", "percentage", "networking", "inbound", "tags", "port", "serviceProbe",
            "interval", "mtls", "backends", "mode", "subscriptions", "connectTime", "status", "stat",
            "data", "enabled", "health", "version", "config", "sampling", "tracing", "metadata",
        ]).prop_map(str::to_owned),
        1 => ".*",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u32..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        prop::sample::select(vec![
            "5s",
            "1h30m",
            "GET",
            "HTTP",
            "2026-03-01T10:00:00Z",
            "NaN",
            "aGk="
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused_and_what_was_read_prints_and_reads_back(value in any_json()) {
        for ty in ResourceType::ALL {
            if let Ok(body) = parse_body(ty, &value) {
                let printed = encode_spec(&body.spec);
                let again = decode_spec(ty, &printed).expect("what we print we read");
                prop_assert_eq!(&again.spec, &body.spec);
                prop_assert_eq!(&again.unknown, &Vec::<String>::new());
                for path in &body.unknown {
                    let _ = nearest_field(ty, path);
                }
            }
        }
    }

    #[test]
    fn any_bytes_that_are_a_spec_print_and_read_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        for ty in ResourceType::ALL {
            if let Ok(spec) = Spec::parse(ty, Bytes::from(bytes.clone())) {
                let _ = decode_spec(ty, &encode_spec(&spec));
            }
        }
    }
}
