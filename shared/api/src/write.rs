//! Writing resources: the order of checks, and the commit.
//!
//! A write is based on a snapshot and committed only if what it read is still so; if not, it is
//! tried again from the newer state. Deleting a mesh waits for writes into meshes that are under
//! way and keeps new ones out meanwhile, so that nothing is left in a mesh that is gone.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use mesh_model::json::{self, Body};
use mesh_model::validate::{self, Violation};
use mesh_model::{Key, Resource, ResourceType};
use mesh_store::{Batch, CommitError, Expect, Op, SharedStore};
use serde_json::{Value, json};

use crate::admission::{Admit, Evict};
use crate::body::{self, BodyError};
use crate::context::Mode;
use crate::error::ApiError;
use crate::labels;
use crate::read;
use crate::request::Request;
use crate::respond;

/// How often a write that met another one is tried.
const ATTEMPTS: usize = 8;
/// The most that is deleted together with a resource in one batch.
const CASCADE: usize = 1000;
const PROCESS: &str = "Could not process a resource";
const DELETE: &str = "Could not delete a resource";

/// Refuses writes of types that are not this control plane's.
pub(crate) fn require_writable(request: &Request<'_>, ty: ResourceType) -> Result<(), ApiError> {
    let mode = &request.context.mode;
    if mode.may_write(ty) {
        return Ok(());
    }
    let detail = match mode {
        Mode::Global => {
            "This is the global control plane: zones and the control planes themselves write \
             resources of this type. Write Dataplanes and zone ingresses on their zone's \
             control plane.\n"
        }
        Mode::FederatedZone { .. } => {
            "This is a zone control plane: it takes resources of this type from the global one. \
             Write them there.\n"
        }
    };
    Err(ApiError::problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "Method not allowed",
        detail,
    ))
}

/// `PUT`: creates or replaces a resource.
pub(crate) async fn put(
    request: &Request<'_>,
    ty: ResourceType,
    mesh_name: Option<&str>,
    name: &str,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let _guard = request.guard.read().await;
    let snapshot = request.context.store.snapshot();
    let mesh = mesh_name
        .map(|name| read::mesh(&snapshot, name))
        .transpose()?;
    let body = body::parse(ty, &bytes).map_err(|error| match error {
        BodyError::Unreadable(why) => {
            ApiError::bad_request(format!("invalid {ty} object: {why:?}"))
        }
        BodyError::NoSpec(violation) => ApiError::invalid(PROCESS, vec![violation]),
    })?;
    let key = read::key(ty, mesh, name);
    let old = key.as_ref().and_then(|key| snapshot.get(key));
    let mut violations = validate::spec(ty, &body.spec);
    violations.extend(check_meta(request, ty, mesh_name, name, &body));
    violations.extend(labels::check_display_name(
        &body.meta.labels,
        &request.context.mode,
        name,
        old.map(|old| &**old),
    ));
    if !violations.is_empty() {
        return Err(ApiError::invalid(PROCESS, violations));
    }
    request.user.require_type(ty)?;
    let key = key.expect("the name and its mesh were checked");
    for _ in 0..ATTEMPTS {
        match try_put(request, &key, &body).await? {
            Ok(status) => return Ok(written(status, ty, &body.unknown)),
            Err(error @ CommitError::Conflict { .. }) => {
                tracing::debug!(%error, "a write met another one");
            }
            Err(error) => return Err(ApiError::commit(&error)),
        }
    }
    Err(ApiError::commit(&CommitError::Conflict { key }))
}

async fn try_put(
    request: &Request<'_>,
    key: &Key,
    body: &Body,
) -> Result<Result<StatusCode, CommitError>, ApiError> {
    let context = request.context;
    let snapshot = context.store.snapshot();
    let old = snapshot.get(key).cloned();
    let now = (context.now)();
    let spec = body.spec.clone();
    let labels = labels::complete(
        body.meta.labels.clone(),
        &context.mode,
        key,
        &spec,
        old.as_deref(),
        now,
    );
    let title = match (key.ty(), &old) {
        (ResourceType::Mesh, None) => "Failed to create a resource",
        (ResourceType::Mesh, Some(_)) => "Failed to update a resource",
        (_, None) => "Could not create a resource",
        (_, Some(_)) => "Could not update a resource",
    };
    let mut violations = old
        .as_ref()
        .map_or_else(Vec::new, |old| labels::check_update(old, &labels));
    let created = old.as_ref().map_or(now, |old| old.created());
    // A status is not its author's, whatever the body says.
    let kept = old.as_ref().and_then(|old| old.status().cloned());
    let (expect, status) = match &old {
        Some(old) => (Expect::Version(old.version()), StatusCode::OK),
        None => (Expect::Absent, StatusCode::CREATED),
    };
    let answer = context
        .admission
        .admit(Admit {
            snapshot,
            old,
            new: Resource::new(key.clone(), labels, spec, created, now).with_status(kept),
        })
        .await;
    let admitted = match answer {
        Ok(admitted) if violations.is_empty() => admitted,
        Ok(_) => return Err(ApiError::invalid(title, violations)),
        Err(refusal) => {
            violations.extend(refusal.0);
            return Err(ApiError::invalid(title, violations));
        }
    };
    check_size(&admitted.resource, context.settings.max_resource)?;
    let mut batch = Batch::new().put_if(admitted.resource, expect);
    admitted.more.into_iter().for_each(|op| batch.push(op));
    Ok(context.store.commit(batch).await.map(|_| status))
}

/// Refuses what no message to a zone could hold: stored, it would reach nobody.
fn check_size(resource: &Resource, limit: Option<usize>) -> Result<(), ApiError> {
    /// The most that the encoding adds to a label.
    const PER_LABEL: usize = 16;
    let Some(limit) = limit else { return Ok(()) };
    if !resource.key().ty().describe().ways.down {
        return Ok(());
    }
    let labels = resource.labels().iter();
    let labels: usize = labels.map(|(k, v)| k.len() + v.len() + PER_LABEL).sum();
    let status = resource.status().map_or(0, |status| status.bytes().len());
    let size = resource.spec().bytes().len() + status + labels;
    if size <= limit {
        return Ok(());
    }
    Err(ApiError::problem(
        StatusCode::PAYLOAD_TOO_LARGE,
        "Resource too large",
        format!(
            "the resource takes {size} bytes on its way to zones, and at most {limit} fit into a \
             message; the limit follows from multizone.global.kds.maxMsgSize here and \
             multizone.zone.kds.maxMsgSize in zones"
        ),
    ))
}

/// What is wrong with a body beside its fields.
fn check_meta(
    request: &Request<'_>,
    ty: ResourceType,
    mesh: Option<&str>,
    name: &str,
    body: &Body,
) -> Vec<Violation> {
    let mode = &request.context.mode;
    let meta = &body.meta;
    let mut found = validate::url_agrees(meta, ty, mesh, name);
    if let Some(zone) = mode.zone()
        && zone.as_str().len() + 1 + name.len() >= 253
    {
        found.push(Violation::new(
            "name",
            "is too long together with the name of the zone",
        ));
    }
    found.extend(labels::check(&meta.labels, mode, ty, mesh));
    found
}

/// `{}`, or warnings about what nobody will read, or do.
fn written(status: StatusCode, ty: ResourceType, unknown: &[String]) -> Response {
    let mut warnings: Vec<Value> = unknown
        .iter()
        .map(|path| match json::nearest_field(ty, path) {
            Some(near) => json!(format!(
                "unknown field {path:?} was ignored: did you mean {near:?}?"
            )),
            None => json!(format!("unknown field {path:?} was ignored")),
        })
        .collect();
    if !ty.describe().is_applied {
        warnings.push(json!(format!(
            "stored and synchronised; this release does not apply a {ty} yet"
        )));
    }
    if warnings.is_empty() {
        return respond::empty_object(status);
    }
    respond::json(status, &json!({ "warnings": warnings }))
}

/// `DELETE`: removes a resource and what depends on it.
pub(crate) async fn delete(
    request: &Request<'_>,
    ty: ResourceType,
    mesh_name: Option<&str>,
    name: &str,
) -> Result<Response, ApiError> {
    let context = request.context;
    let _guard = Guard::for_delete(request, ty).await;
    let mut conflict = None;
    for _ in 0..ATTEMPTS {
        let snapshot = context.store.snapshot();
        let mesh = mesh_name
            .map(|name| read::mesh(&snapshot, name))
            .transpose()?;
        let old = read::key(ty, mesh, name)
            .and_then(|key| snapshot.get(&key).cloned())
            .ok_or_else(|| ApiError::not_found(DELETE))?;
        request.user.require_type(ty)?;
        let violations = labels::check_delete(&old, &context.mode);
        if !violations.is_empty() {
            return Err(ApiError::invalid(DELETE, violations));
        }
        let more = context
            .admission
            .evict(Evict {
                snapshot,
                old: Arc::clone(&old),
            })
            .await
            .map_err(|refusal| ApiError::invalid(DELETE, refusal.0))?;
        let last = Op::Delete {
            key: old.key().clone(),
            expect: Expect::Version(old.version()),
        };
        match cascade(&context.store, more, last).await {
            Ok(()) => return Ok(respond::empty_object(StatusCode::OK)),
            Err(error @ CommitError::Conflict { .. }) => conflict = Some(error),
            Err(error) => return Err(ApiError::commit(&error)),
        }
    }
    Err(conflict.map_or_else(
        || ApiError::not_found(DELETE),
        |error| ApiError::commit(&error),
    ))
}

/// Writes `more`, in several batches where it is much: a batch is held in memory as a whole.
/// `last` comes with the last of them, so that what is interrupted can be done again.
async fn cascade(store: &SharedStore, more: Vec<Op>, last: Op) -> Result<(), CommitError> {
    let mut batch = Batch::new();
    for op in more {
        if batch.ops().len() == CASCADE {
            store.commit(std::mem::take(&mut batch)).await?;
        }
        batch.push(op);
    }
    batch.push(last);
    store.commit(batch).await.map(|_| ())
}

/// Held while a write is under way.
#[expect(dead_code, reason = "a guard is held, not read")]
enum Guard<'a> {
    Shared(tokio::sync::RwLockReadGuard<'a, ()>),
    Exclusive(tokio::sync::RwLockWriteGuard<'a, ()>),
}

impl<'a> Guard<'a> {
    async fn for_delete(request: &Request<'a>, ty: ResourceType) -> Self {
        match ty {
            ResourceType::Mesh => Self::Exclusive(request.guard.write().await),
            _ => Self::Shared(request.guard.read().await),
        }
    }
}
