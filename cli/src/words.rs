//! The words for resource types on the command line.

use anyhow::bail;
use mesh_model::ResourceType;

use crate::documents::nearest;

/// The type that `word` means: `meshgateway`, `meshgateways` or `MeshGateway`.
pub(crate) fn parse_type(word: &str) -> anyhow::Result<ResourceType> {
    let lower = word.to_lowercase();
    if let Some(ty) = ResourceType::from_cli_word(&lower) {
        return Ok(ty);
    }
    let words: Vec<&str> = ResourceType::ALL
        .iter()
        .flat_map(|ty| {
            let d = ty.describe();
            d.singular.iter().chain(d.plural).copied()
        })
        .collect();
    match nearest(&lower, &words) {
        Some(near) => bail!("unknown type {word:?}; did you mean {near}?"),
        None => {
            let all: Vec<_> = ResourceType::ALL
                .iter()
                .filter_map(|ty| ty.describe().plural.first().copied())
                .collect();
            bail!("unknown type {word:?}; there are {}", all.join(", "))
        }
    }
}

/// That a resource does not exist.
pub(crate) fn absent(ty: ResourceType, mesh: Option<&str>, name: &str) -> anyhow::Error {
    match mesh.filter(|_| ty.is_mesh_scoped()) {
        Some(mesh) => anyhow::anyhow!(
            "there is no {ty} {name:?} in mesh {mesh:?}; see `meridian get {} -m {mesh}`",
            plural(ty)
        ),
        None => anyhow::anyhow!(
            "there is no {ty} {name:?}; see `meridian get {}`",
            plural(ty)
        ),
    }
}

fn plural(ty: ResourceType) -> &'static str {
    ty.describe().plural.first().copied().unwrap_or(ty.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_called_by_either_number_or_their_name() {
        for word in ["meshgateway", "meshgateways", "MeshGateway"] {
            assert_eq!(parse_type(word).unwrap(), ResourceType::MeshGateway);
        }
        let error = |word| parse_type(word).unwrap_err().to_string();
        assert!(error("meshgatway").ends_with("did you mean meshgateway?"));
        assert!(error("pods").contains("there are meshes, meshgateways"));
    }
}
