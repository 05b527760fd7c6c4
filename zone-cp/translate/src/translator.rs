//! Translation as a whole, from scratch or following a view.

use crate::Snapshot;
use crate::finding::Finding;
use crate::proxy::Proxy;
use crate::view::ZoneView;

/// What a proxy is offered, and what its operator should know.
#[derive(Debug, Clone)]
pub struct Translation {
    /// The resources for Envoy.
    pub snapshot: Snapshot,
    /// At most [`crate::MAX_FINDINGS`], in a stable order.
    pub findings: Vec<Finding>,
}

/// Translates from scratch.
pub fn translate(view: &ZoneView, proxy: &Proxy) -> Translation {
    let mut translator = Translator::new(proxy.clone());
    translator
        .update(view)
        .unwrap_or_else(|| translator.translation())
}

/// The translation for one proxy, following a view that changes.
///
/// After any sequence of updates the result is the same as [`translate`]'s.
#[derive(Debug)]
pub struct Translator {
    proxy: Proxy,
}

impl Translator {
    /// A translator that has not seen a view yet.
    pub fn new(proxy: Proxy) -> Self {
        Self { proxy }
    }

    /// The proxy, with the Dataplane as last seen.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Looks at a newer view; `None` when nothing changed for this proxy.
    ///
    /// Costs time in proportion to what changed since the view of the last call, if one was made
    /// from the other.
    pub fn update(&mut self, _view: &ZoneView) -> Option<Translation> {
        None
    }

    /// The result of the last update.
    pub fn translation(&self) -> Translation {
        Translation {
            snapshot: Snapshot::empty(),
            findings: Vec::new(),
        }
    }
}
