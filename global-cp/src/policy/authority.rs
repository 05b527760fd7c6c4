//! The certificate authorities of meshes: a builtin one is made here, as two Secrets of its mesh
//! that zones sign with.

use mesh_api::{Admit, Refusal};
use mesh_model::validate::Violation;
use mesh_model::{Key, MeshName, ResourceName, ResourceType};
use mesh_proto::mesh::{CertificateAuthorityBackend, Mesh};
use mesh_runtime::tls::{self, RsaBits, WantedAuthority};
use mesh_store::{Expect, Op};
use prost_types::Struct;
use prost_types::value::Kind;

use crate::secrets;

/// The two Secrets of an authority.
pub(crate) const PARTS: [&str; 2] = ["cert", "key"];

const BUILTIN: &str = "builtin";
/// The years that an authority is valid for, unless its backend says otherwise.
const TEN_YEARS: u64 = 10 * YEAR;
const DAY: u64 = 24 * 3600;
const YEAR: u64 = 365 * DAY;

/// The name of a part of the authority of a backend.
pub(crate) fn secret_name(mesh: &str, part: &str, backend: &str) -> String {
    format!("{mesh}.ca-builtin-{part}-{backend}")
}

/// The Secrets that a mesh's builtin backends lack.
pub(crate) async fn admit(
    request: &Admit,
    mesh: &MeshName,
    new: &Mesh,
) -> Result<Vec<Op>, Refusal> {
    let backends = new.mtls.iter().flat_map(|mtls| &mtls.backends);
    let mut found = Vec::new();
    let mut ops = Vec::new();
    for (i, backend) in backends.enumerate().filter(|(_, b)| b.r#type == BUILTIN) {
        let at = |field: &str| format!("mtls.backends[{i}].{field}");
        let wanted = Settings::read(backend, &at("conf"));
        let keys = keys(mesh, backend, &at("name"));
        let (settings, [cert, key]) = match (wanted, keys) {
            (Ok(settings), Ok(keys)) => (settings, keys),
            (wanted, keys) => {
                found.extend(wanted.err().into_iter().flatten());
                found.extend(keys.err());
                continue;
            }
        };
        match [&cert, &key].map(|key| request.snapshot.get(key).is_some()) {
            // Made before, or brought by the operator: it goes on being used.
            [true, true] => {}
            [false, false] => ops.push((cert, key, settings)),
            [has_cert, _] => {
                let (there, missing) = if has_cert { (cert, key) } else { (key, cert) };
                found.push(Violation::new(
                    at("name"),
                    format!(
                        "{there} exists, but {missing} does not: add it, or delete the first for a \
                         new certificate authority"
                    ),
                ));
            }
        }
    }
    if !found.is_empty() {
        return Err(Refusal(found));
    }
    let mut made = Vec::new();
    for (cert, key, settings) in ops {
        made.extend(make(request, mesh, cert, key, settings).await?);
    }
    Ok(made)
}

/// Where an authority's certificate and key are.
fn keys(
    mesh: &MeshName,
    backend: &CertificateAuthorityBackend,
    field: &str,
) -> Result<[Key; 2], Violation> {
    let key = |part| {
        let name = secret_name(mesh.as_str(), part, &backend.name);
        let name = ResourceName::parse(&name).map_err(|error| {
            Violation::new(field, format!("{name:?} cannot name a Secret: {error}"))
        })?;
        Ok(Key::in_mesh(ResourceType::Secret, mesh.clone(), name))
    };
    let [cert, rest] = PARTS.map(key);
    Ok([cert?, rest?])
}

async fn make(
    request: &Admit,
    mesh: &MeshName,
    cert: Key,
    key: Key,
    settings: Settings,
) -> Result<[Op; 2], Refusal> {
    let (name, now) = (mesh.clone(), request.new.modified());
    let work = move || {
        tls::authority(WantedAuthority {
            mesh: name.as_str(),
            bits: settings.bits,
            now,
            valid_for: settings.valid_for,
        })
    };
    // A key takes a good part of a second of computing.
    let made = tokio::task::spawn_blocking(work)
        .await
        .expect("making an authority does not panic, and the runtime outlives it")
        .map_err(|error| Refusal::new("mtls.backends", error.to_string()))?;
    Ok(
        [(cert, &made.cert_pem), (key, &made.key_pem)].map(|(key, content)| Op::Put {
            resource: secrets::resource(key, content, now).into(),
            expect: Expect::Absent,
        }),
    )
}

/// What the `conf` of a builtin backend says.
#[derive(Debug, Clone, Copy)]
struct Settings {
    bits: RsaBits,
    /// In seconds.
    valid_for: u64,
}

impl Settings {
    fn read(backend: &CertificateAuthorityBackend, field: &str) -> Result<Self, Vec<Violation>> {
        let mut found = Vec::new();
        let mut settings = Self {
            bits: RsaBits::default(),
            valid_for: TEN_YEARS,
        };
        let cert = match backend.conf.as_ref().and_then(|conf| value(conf, "caCert")) {
            None | Some(Kind::NullValue(_)) => None,
            Some(Kind::StructValue(cert)) => Some(cert),
            Some(_) => {
                found.push(Violation::new(
                    format!("{field}.caCert"),
                    "must be an object",
                ));
                None
            }
        };
        match cert.and_then(|cert| value(cert, "RSAbits")) {
            None | Some(Kind::NullValue(_)) => {}
            Some(bits) => match rsa_bits(bits) {
                Some(bits) => settings.bits = bits,
                None => found.push(Violation::new(
                    format!("{field}.caCert.RSAbits"),
                    "must be one of 2048, 3072, 4096",
                )),
            },
        }
        match cert.and_then(|cert| value(cert, "expiration")) {
            None | Some(Kind::NullValue(_)) => {}
            Some(Kind::StringValue(text)) if text.is_empty() => {}
            Some(text) => match seconds(text) {
                Some(seconds) => settings.valid_for = seconds,
                None => found.push(Violation::new(
                    format!("{field}.caCert.expiration"),
                    "has to be a number and one of y, w, d, h, m, s, such as 10y, and to end \
                     before the year 10000",
                )),
            },
        }
        if found.is_empty() {
            Ok(settings)
        } else {
            Err(found)
        }
    }
}

/// The value of a field of a backend's `conf`.
pub(crate) fn value<'a>(object: &'a Struct, field: &str) -> Option<&'a Kind> {
    object.fields.get(field)?.kind.as_ref()
}

fn rsa_bits(value: &Kind) -> Option<RsaBits> {
    let bits = match value {
        Kind::NumberValue(bits) => bits.to_string(),
        Kind::StringValue(bits) => bits.clone(),
        _ => return None,
    };
    RsaBits::of(bits.parse().ok()?)
}

/// How long an authority is valid that is valid for `value`, between a second and 1,000 years.
fn seconds(value: &Kind) -> Option<u64> {
    let Kind::StringValue(text) = value else {
        return None;
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "y" => YEAR,
        "w" => 7 * DAY,
        "d" => DAY,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=1000 * YEAR).contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(cert: &[(&str, Kind)]) -> CertificateAuthorityBackend {
        let object = |fields: Vec<(&str, Kind)>| Struct {
            fields: fields
                .into_iter()
                .map(|(key, kind)| (key.to_owned(), prost_types::Value { kind: Some(kind) }))
                .collect(),
        };
        CertificateAuthorityBackend {
            conf: Some(object(vec![(
                "caCert",
                Kind::StructValue(object(cert.to_vec())),
            )])),
            ..Default::default()
        }
    }

    fn text(text: &str) -> Kind {
        Kind::StringValue(text.to_owned())
    }

    #[test]
    fn settings_are_read_as_people_write_them() {
        let none = Settings::read(&CertificateAuthorityBackend::default(), "conf").unwrap();
        assert_eq!((none.bits, none.valid_for), (RsaBits::Rsa2048, TEN_YEARS));
        for bits in [Kind::NumberValue(4096.0), text("4096")] {
            let said = backend(&[("RSAbits", bits), ("expiration", text("2w"))]);
            let said = Settings::read(&said, "conf").unwrap();
            assert_eq!((said.bits, said.valid_for), (RsaBits::Rsa4096, 14 * DAY));
        }
    }

    #[test]
    fn settings_that_cannot_be_are_refused_where_they_stand() {
        let odd = backend(&[
            ("RSAbits", Kind::NumberValue(1.5)),
            ("expiration", text("soon")),
        ]);
        let found = Settings::read(&odd, "mtls.backends[0].conf").unwrap_err();
        let fields: Vec<_> = found.iter().map(|v| v.field.as_str()).collect();
        let path = "mtls.backends[0].conf.caCert";
        assert_eq!(
            fields,
            [format!("{path}.RSAbits"), format!("{path}.expiration")]
        );
        for odd in ["0s", "18446744073709551615y", "1001y", "10", "-1d", "1.5h"] {
            assert!(
                Settings::read(&backend(&[("expiration", text(odd))]), "").is_err(),
                "{odd}"
            );
        }
    }
}
