use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::EncodingKey;

use super::*;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());
static OTHER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(now().unix_seconds() + seconds)
}

fn user() -> UserClaims {
    UserClaims {
        name: "jane".to_owned(),
        groups: vec!["team".to_owned()],
    }
}

fn token() -> String {
    issue(&KEY, "1", &user(), now(), HOUR).unwrap()
}

fn key_one(key_id: &str) -> Option<VerifyingKey> {
    (key_id == "1").then(|| KEY.public())
}

fn check(token: &str, at: Timestamp) -> Result<Verified<UserClaims>, TokenError> {
    verify(token, at, key_one, &Revocations::default())
}

/// A token made by hand: any header and claims, signed with `key` if there is one.
fn forged(header: &str, claims: &str, key: Option<(&EncodingKey, Algorithm)>) -> String {
    let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let signature = key.map_or_else(String::new, |(key, algorithm)| {
        jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap()
    });
    format!("{message}.{signature}")
}

fn signed(claims: &str) -> String {
    let key = Some((KEY.encoding(), Algorithm::RS256));
    forged(r#"{"alg":"RS256","kid":"1","typ":"JWT"}"#, claims, key)
}

#[test]
fn token_is_verified_by_the_public_half_as_it_is_stored() {
    let stored = KEY.public().to_pem();
    assert!(
        stored.starts_with("-----BEGIN RSA PUBLIC KEY-----\n"),
        "{stored}"
    );
    let verified: Verified<UserClaims> = verify(
        &format!("{}\n", token()),
        now(),
        |_| Some(VerifyingKey::parse(stored.as_bytes()).unwrap()),
        &Revocations::default(),
    )
    .unwrap();
    assert_eq!(verified.claims, user());
    assert_eq!(verified.expires, Some(after(3600)));
    verified.id.parse::<uuid::Uuid>().unwrap();
}

#[test]
fn token_has_the_shape_that_kuma_reads() {
    let claims = DataplaneClaims {
        name: "edge".to_owned(),
        mesh: "default".to_owned(),
        ..DataplaneClaims::default()
    };
    let token = issue(&KEY, "7", &claims, now(), HOUR).unwrap();
    let header: serde_json::Value = part(&token, 0).unwrap();
    assert_eq!(
        header,
        serde_json::json!({"alg": "RS256", "kid": "7", "typ": "JWT"})
    );
    let mut body: serde_json::Value = part(&token, 1).unwrap();
    body.as_object_mut().unwrap().remove("jti").unwrap();
    let seconds = now().unix_seconds();
    assert_eq!(
        body,
        serde_json::json!({
            "Name": "edge", "Mesh": "default", "Tags": {}, "Type": "",
            "exp": seconds + 3600, "iat": seconds - 5, "nbf": seconds - 5,
        })
    );
}

#[test]
fn dates_are_kept_to_the_second() {
    let token = token();
    check(&token, after(-5)).unwrap();
    check(&token, after(3599)).unwrap();
    assert_eq!(
        check(&token, after(3600)).unwrap_err(),
        TokenError::Expired {
            kind: "user",
            at: after(3600)
        }
    );
    assert!(matches!(
        check(&token, after(-6)),
        Err(TokenError::NotYetValid { .. })
    ));
    let forever = signed(r#"{"Name":"a"}"#);
    assert_eq!(check(&forever, after(1_000_000_000)).unwrap().expires, None);
    let fraction = signed(&format!(r#"{{"exp":{}.5}}"#, now().unix_seconds()));
    assert!(matches!(
        check(&fraction, after(1)),
        Err(TokenError::Expired { .. })
    ));
}

#[test]
fn tampered_token_is_refused() {
    let token = token();
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[1] = BASE64URL.encode(r#"{"Name":"root","Groups":["mesh-system:admin"]}"#);
    assert!(matches!(
        check(&parts.join("."), now()),
        Err(TokenError::Signature { .. })
    ));
    let cut = token.rsplit_once('.').unwrap().0;
    assert!(matches!(
        check(&format!("{cut}."), now()),
        Err(TokenError::Signature { .. })
    ));
    let by_other = issue(&OTHER, "1", &user(), now(), HOUR).unwrap();
    assert!(matches!(
        check(&by_other, now()),
        Err(TokenError::Signature { .. })
    ));
}

#[test]
fn only_rs256_is_accepted() {
    let claims = r#"{"Name":"root","Groups":["mesh-system:admin"]}"#;
    // The classic confusion: the public key, known to all, used as an HMAC secret.
    let public = KEY.public().to_pem();
    let secret = EncodingKey::from_secret(public.as_bytes());
    let hs256 = forged(
        r#"{"alg":"HS256","kid":"1"}"#,
        claims,
        Some((&secret, Algorithm::HS256)),
    );
    let relabelled = forged(
        r#"{"alg":"RS256","kid":"1"}"#,
        claims,
        Some((&secret, Algorithm::HS256)),
    );
    assert!(matches!(
        check(&hs256, now()),
        Err(TokenError::Algorithm { .. })
    ));
    assert!(matches!(
        check(&relabelled, now()),
        Err(TokenError::Signature { .. })
    ));
    for alg in ["none", "None", "", "rs256", "RS512", "PS256", "ES256"] {
        let token = forged(&format!(r#"{{"alg":"{alg}","kid":"1"}}"#), claims, None);
        assert!(
            matches!(check(&token, now()), Err(TokenError::Algorithm { .. })),
            "{alg}"
        );
    }
}

#[test]
fn key_id_decides_the_key_and_must_be_there() {
    let token = issue(&KEY, "2", &user(), now(), HOUR).unwrap();
    let error = check(&token, now()).unwrap_err();
    assert_eq!(
        error,
        TokenError::UnknownKey {
            kind: "user",
            key_id: "2".to_owned()
        }
    );
    for header in [r#"{"alg":"RS256"}"#, r#"{"alg":"RS256","kid":""}"#] {
        let token = forged(header, "{}", Some((KEY.encoding(), Algorithm::RS256)));
        assert!(matches!(
            check(&token, now()),
            Err(TokenError::NoKeyId { .. })
        ));
    }
}

#[test]
fn revoked_token_is_refused_by_its_id() {
    let token = token();
    let id = check(&token, now()).unwrap().id;
    let revoked = Revocations::parse(format!("a, {id} ,b\n").as_bytes());
    assert!(revoked.contains("a") && revoked.contains("b") && !revoked.contains(""));
    let error = verify::<UserClaims>(&token, now(), key_one, &revoked).unwrap_err();
    assert_eq!(error, TokenError::Revoked { kind: "user", id });
}

#[test]
fn garbage_is_refused_and_never_repeated() {
    let long = "x".repeat(70_000);
    let no_json = format!("{}.e30.x", BASE64URL.encode("secret"));
    for garbage in [
        "",
        " ",
        "secret",
        "secret.secret.secret",
        "..",
        &no_json,
        &long,
    ] {
        let text = check(garbage, now()).unwrap_err().to_string();
        assert!(!text.contains("secret") && text.len() < 200, "{text}");
    }
    assert!(matches!(
        check(&signed("[1]"), now()),
        Err(TokenError::Malformed { .. })
    ));
    assert!(matches!(
        check(&signed("not json"), now()),
        Err(TokenError::Malformed { .. })
    ));
    let wrong_type = signed(r#"{"Name":7}"#);
    assert!(matches!(
        check(&wrong_type, now()),
        Err(TokenError::UnreadableClaims { .. })
    ));
}

#[test]
fn keys_are_read_in_every_stored_form_and_written_in_one() {
    let pem = KEY.to_pem();
    assert!(pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    assert_eq!(SigningKey::parse(pem.as_bytes()).unwrap().to_pem(), pem);
    let der = pem::parse(&pem).unwrap().into_contents();
    assert_eq!(SigningKey::parse(&der).unwrap().to_pem(), pem);

    let pair = aws_lc_rs::rsa::KeyPair::from_der(&der).unwrap();
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
        aws_lc_rs::encoding::AsDer::as_der(&pair).unwrap();
    let pkcs8 = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()));
    assert_eq!(SigningKey::parse(pkcs8.as_bytes()).unwrap().to_pem(), pem);

    let public = KEY.public().to_pem();
    let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
        aws_lc_rs::encoding::AsDer::as_der(aws_lc_rs::signature::KeyPair::public_key(&pair))
            .unwrap();
    assert_eq!(VerifyingKey::parse(spki.as_ref()).unwrap().to_pem(), public);
    let spki = pem::encode(&pem::Pem::new("PUBLIC KEY", spki.as_ref()));
    assert_eq!(
        VerifyingKey::parse(spki.as_bytes()).unwrap().to_pem(),
        public
    );
}

#[test]
fn what_is_no_rsa_key_is_refused_without_showing_it() {
    let error = SigningKey::parse(KEY.public().to_pem().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("RSA PUBLIC KEY"), "{error}");
    assert!(VerifyingKey::parse(KEY.to_pem().as_bytes()).is_err());
    let ec = rcgen::KeyPair::generate().unwrap();
    let error = SigningKey::parse(ec.serialize_pem().as_bytes()).unwrap_err();
    assert_eq!(error, KeyError::NotRsa { which: "private" });
    assert!(VerifyingKey::parse(ec.public_key_pem().as_bytes()).is_err());
    for bytes in [
        &b""[..],
        b"secret",
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        &[0x30, 0x80],
    ] {
        assert!(SigningKey::parse(bytes).is_err());
        assert!(VerifyingKey::parse(bytes).is_err());
    }
    // RSAPublicKey with an 8-bit modulus.
    let tiny = [0x30, 0x06, 0x02, 0x01, 0x55, 0x02, 0x01, 0x03];
    assert_eq!(
        VerifyingKey::parse(&tiny).unwrap_err(),
        KeyError::TooSmall { bits: 8 }
    );
    assert_eq!(format!("{:?}", *KEY), "SigningKey(***)");
}
