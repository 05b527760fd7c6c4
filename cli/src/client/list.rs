//! Lists, which come in pages.

use serde_json::{Map, Value, json};

use super::{Error, Server};

/// The most items that a control plane gives at once.
const PAGE: usize = 1000;

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Args)]
pub(crate) struct Window {
    /// Show at most this many; without it, all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) size: Option<u32>,
    /// Leave out this many at the start
    #[arg(long, value_name = "N")]
    pub(crate) offset: Option<u32>,
}

/// A list, or the part of it that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) items: Vec<Value>,
    /// How many there are in all.
    pub(crate) total: usize,
    /// Where the next part begins, if there is one.
    pub(crate) next: Option<usize>,
}

impl Listing {
    /// The list as the admin API would give it.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "total": self.total, "items": self.items, "next": null })
    }
}

impl Server {
    /// The list at `path`: all of it, or the part that `window` says if it says a size.
    pub(crate) async fn list(&self, path: &str, window: Window) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let mut offset = window.offset.map_or(0, |offset| offset as usize);
        let size = window.size.map_or(PAGE, |size| size as usize);
        loop {
            let page = self
                .get(&format!("{path}?size={size}&offset={offset}"))
                .await?;
            let Value::Object(mut page) = page else {
                return Err(self.no_list(path, &page));
            };
            let Some(Value::Array(items)) = page.remove("items") else {
                return Err(self.no_list(path, &Value::Object(page)));
            };
            let is_empty = items.is_empty();
            offset += items.len();
            listing.items.extend(items);
            listing.total = total(&page).max(listing.items.len());
            let has_more = !is_empty && page.get("next").is_some_and(Value::is_string);
            if window.size.is_some() || !has_more {
                listing.next = has_more.then_some(offset);
                return Ok(listing);
            }
        }
    }

    fn no_list(&self, path: &str, answer: &Value) -> Error {
        Error::strange(&self.url(path), &answer.to_string())
    }
}

fn total(page: &Map<String, Value>) -> usize {
    page.get("total")
        .and_then(Value::as_u64)
        .and_then(|total| usize::try_from(total).ok())
        .unwrap_or(0)
}
