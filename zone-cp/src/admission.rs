//! What a zone decides for itself about writes to its own API.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mesh_api::{Admission, Admit, Admitted, Evict, Refusal};
use mesh_model::{Resource, ResourceType, Spec, ZoneName};
use mesh_proto::mesh::Dataplane;
use mesh_store::{Expect, Op};

use crate::dataplane::registration::set_zone_tags;

/// The rules of one zone.
#[derive(Debug)]
pub(crate) struct ZoneRules {
    zone: ZoneName,
}

impl ZoneRules {
    /// The rules of `zone`.
    pub(crate) fn new(zone: ZoneName) -> Self {
        Self { zone }
    }
}

#[async_trait]
impl Admission for ZoneRules {
    async fn admit(&self, request: Admit) -> Result<Admitted, Refusal> {
        let mut resource = request.new;
        if resource.key().ty() == ResourceType::Dataplane {
            let mut dataplane: Dataplane = resource.decode();
            set_zone_tags(&mut dataplane, &self.zone);
            let spec = Spec::encode(ResourceType::Dataplane, &dataplane);
            if spec != *resource.spec() {
                resource = Resource::new(
                    resource.key().clone(),
                    BTreeMap::clone(resource.labels()),
                    spec,
                    resource.created(),
                    resource.modified(),
                );
            }
        }
        Ok(Admitted {
            resource,
            more: Vec::new(),
        })
    }

    async fn evict(&self, request: Evict) -> Result<Vec<Op>, Refusal> {
        // An insight goes with what it is about.
        let insight = request
            .old
            .key()
            .ty()
            .insight()
            .map(|ty| request.old.key().with_type(ty));
        Ok(insight
            .filter(|key| request.snapshot.get(key).is_some())
            .map(|key| Op::Delete {
                key,
                expect: Expect::Anything,
            })
            .into_iter()
            .collect())
    }
}
