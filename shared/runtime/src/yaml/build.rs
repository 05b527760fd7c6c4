//! Builds values and their lines from the parser's events, without recursion.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Value};

use super::{Document, Error, MAX_DEPTH, scalar};

/// What a node costs in memory beside its text, roughly: what the alias limit counts.
const NODE_WEIGHT: usize = 32;

/// The line of a value and of everything in it.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    pub(super) line: usize,
    // Shared, because an alias repeats what its anchor has.
    children: Option<Arc<Children>>,
}

#[derive(Debug)]
enum Children {
    Sequence(Vec<Lines>),
    Mapping(BTreeMap<String, Lines>),
}

impl Lines {
    pub(super) fn entry(&self, key: &str) -> Option<&Self> {
        match self.children.as_deref()? {
            Children::Mapping(entries) => entries.get(key),
            Children::Sequence(_) => None,
        }
    }

    pub(super) fn item(&self, index: usize) -> Option<&Self> {
        match self.children.as_deref()? {
            Children::Sequence(items) => items.get(index),
            Children::Mapping(_) => None,
        }
    }
}

/// A finished value.
#[derive(Debug, Clone)]
struct Node {
    value: Value,
    lines: Lines,
    size: Size,
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    /// Nodes and text, in bytes.
    weight: usize,
    /// Levels of collections: 0 for a scalar.
    height: usize,
}

impl Size {
    fn scalar(text: &str) -> Self {
        Self {
            weight: NODE_WEIGHT + text.len(),
            height: 0,
        }
    }

    fn add(&mut self, child: Self) {
        self.weight = self.weight.saturating_add(child.weight);
        self.height = self.height.max(child.height + 1);
    }
}

/// A collection whose end has not come yet.
struct Frame {
    start: Marker,
    anchor: usize,
    size: Size,
    content: Content,
}

enum Content {
    Sequence {
        items: Vec<Value>,
        lines: Vec<Lines>,
    },
    Mapping {
        entries: Map<String, Value>,
        lines: BTreeMap<String, Lines>,
        /// The key whose value comes next.
        key: Option<Key>,
        /// The mappings named by `<<`, which give way to this mapping's own keys.
        merged: Option<Box<Node>>,
    },
}

struct Key {
    text: String,
    at: Marker,
    is_merge: bool,
}

/// A scalar event.
struct Scalar<'a> {
    text: Cow<'a, str>,
    style: ScalarStyle,
    tag: Option<Cow<'a, Tag>>,
    at: Marker,
}

struct Builder {
    stack: Vec<Frame>,
    /// Finished nodes by anchor, within one document.
    anchors: HashMap<usize, Node>,
    /// How much more may be kept for aliases and repeated by them.
    alias_budget: usize,
    root: Option<Node>,
    documents: Vec<Document>,
}

pub(super) fn documents(text: &str, max_bytes: usize) -> Result<Vec<Document>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        stack: Vec::new(),
        anchors: HashMap::new(),
        alias_budget: max_bytes.saturating_mul(4),
        root: None,
        documents: Vec::new(),
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| from_scan_error(&error))?;
        builder.event(event, span.start)?;
    }
    Ok(builder.documents)
}

fn from_scan_error(error: &ScanError) -> Error {
    fail(*error.marker(), error.info())
}

fn fail(at: Marker, message: impl Into<String>) -> Error {
    Error {
        line: at.line().max(1),
        column: at.col() + 1,
        message: message.into(),
    }
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Marker) -> Result<(), Error> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                Ok(())
            }
            Event::DocumentEnd => {
                self.finish_document();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = Scalar {
                    text,
                    style,
                    tag,
                    at,
                };
                self.scalar(scalar, anchor)
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::SequenceStart(anchor, tag) => {
                scalar::check_collection_tag(tag.as_deref(), "seq").map_err(|why| fail(at, why))?;
                self.open(anchor, at, Content::sequence())
            }
            Event::MappingStart(anchor, tag) => {
                scalar::check_collection_tag(tag.as_deref(), "map").map_err(|why| fail(at, why))?;
                self.open(anchor, at, Content::mapping())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn finish_document(&mut self) {
        self.anchors.clear();
        if let Some(root) = self.root.take() {
            self.documents.push(Document {
                value: root.value,
                first_line: root.lines.line,
                lines: root.lines,
            });
        }
    }

    fn scalar(&mut self, scalar: Scalar<'_>, anchor: usize) -> Result<(), Error> {
        let Scalar {
            text,
            style,
            tag,
            at,
        } = scalar;
        let is_plain = style == ScalarStyle::Plain && tag.is_none();
        if self.stack.is_empty() && is_plain && text.is_empty() {
            // A document without content.
            return Ok(());
        }
        let size = Size::scalar(&text);
        if let Some(slot) = self.key_slot() {
            if text.is_empty() && is_plain {
                return Err(fail(at, "a key is missing before ':'"));
            }
            *slot = Some(Key {
                text: text.clone().into_owned(),
                at,
                is_merge: is_plain && text == "<<",
            });
            if anchor != 0 {
                let value = Value::String(text.into_owned());
                self.remember(anchor, Node::leaf(value, at, size), at)?;
            }
            return Ok(());
        }
        let value = scalar::resolve(&text, style, tag.as_deref()).map_err(|why| fail(at, why))?;
        self.place(Node::leaf(value, at, size), anchor, at)
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<(), Error> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(fail(at, "the alias stands inside what it refers to"));
        };
        if self.stack.len() + node.size.height > MAX_DEPTH {
            return Err(too_deep(at));
        }
        let weight = node.size.weight;
        // Charged before it is copied, so that the copy is within the budget.
        if weight > self.alias_budget {
            return self.charge(weight, at);
        }
        let mut node = node.clone();
        node.lines.line = at.line();
        self.charge(weight, at)?;
        if let Some(slot) = self.key_slot() {
            let Value::String(text) = node.value else {
                return Err(fail(at, "a key must be text"));
            };
            *slot = Some(Key {
                text,
                at,
                is_merge: false,
            });
            return Ok(());
        }
        self.place(node, 0, at)
    }

    fn open(&mut self, anchor: usize, start: Marker, content: Content) -> Result<(), Error> {
        if self.key_slot().is_some() {
            return Err(fail(
                start,
                "a key must be text, not a mapping or a sequence",
            ));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(start));
        }
        self.stack.push(Frame {
            start,
            anchor,
            size: Size {
                weight: NODE_WEIGHT,
                height: 1,
            },
            content,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let frame = self
            .stack
            .pop()
            .expect("the parser ends only collections that it started");
        let (value, children) = match frame.content {
            Content::Sequence { items, lines } => (Value::Array(items), Children::Sequence(lines)),
            Content::Mapping {
                mut entries,
                mut lines,
                merged,
                ..
            } => {
                if let Some(merged) = merged {
                    merge(&mut entries, &mut lines, *merged);
                }
                (Value::Object(entries), Children::Mapping(lines))
            }
        };
        let node = Node {
            value,
            lines: Lines {
                line: frame.start.line(),
                children: Some(Arc::new(children)),
            },
            size: frame.size,
        };
        self.place(node, frame.anchor, frame.start)
    }

    /// Where the next scalar goes if it is a key.
    fn key_slot(&mut self) -> Option<&mut Option<Key>> {
        match &mut self.stack.last_mut()?.content {
            Content::Mapping { key, .. } if key.is_none() => Some(key),
            Content::Mapping { .. } | Content::Sequence { .. } => None,
        }
    }

    fn charge(&mut self, weight: usize, at: Marker) -> Result<(), Error> {
        self.alias_budget = self
            .alias_budget
            .checked_sub(weight)
            .ok_or_else(|| fail(at, "anchors and aliases expand to far more than the text"))?;
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: Node, at: Marker) -> Result<(), Error> {
        self.charge(node.size.weight, at)?;
        self.anchors.insert(anchor, node);
        Ok(())
    }

    fn place(&mut self, mut node: Node, anchor: usize, at: Marker) -> Result<(), Error> {
        if anchor != 0 {
            self.remember(anchor, node.clone(), at)?;
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.size.add(node.size);
        match &mut frame.content {
            Content::Sequence { items, lines } => {
                items.push(node.value);
                lines.push(node.lines);
            }
            Content::Mapping {
                entries,
                lines,
                key,
                merged,
            } => {
                let key = key.take().expect("a value comes after its key");
                if key.is_merge {
                    if merged.is_some() {
                        return Err(fail(key.at, "the key << is given twice"));
                    }
                    check_mergeable(&node.value).map_err(|why| fail(key.at, why))?;
                    *merged = Some(Box::new(node));
                    return Ok(());
                }
                if let Some(first) = lines.get(&key.text) {
                    return Err(fail(
                        key.at,
                        format!(
                            "the key {:?} is given twice, first on line {}",
                            key.text, first.line
                        ),
                    ));
                }
                node.lines.line = key.at.line();
                frame.size.weight = frame.size.weight.saturating_add(key.text.len());
                lines.insert(key.text.clone(), node.lines);
                entries.insert(key.text, node.value);
            }
        }
        Ok(())
    }
}

impl Node {
    fn leaf(value: Value, at: Marker, size: Size) -> Self {
        Self {
            value,
            lines: Lines {
                line: at.line(),
                children: None,
            },
            size,
        }
    }
}

impl Content {
    fn sequence() -> Self {
        Self::Sequence {
            items: Vec::new(),
            lines: Vec::new(),
        }
    }

    fn mapping() -> Self {
        Self::Mapping {
            entries: Map::new(),
            lines: BTreeMap::new(),
            key: None,
            merged: None,
        }
    }
}

fn too_deep(at: Marker) -> Error {
    fail(at, format!("nested deeper than {MAX_DEPTH} levels"))
}

fn check_mergeable(value: &Value) -> Result<(), &'static str> {
    let is_mergeable = match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().all(Value::is_object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if is_mergeable {
        Ok(())
    } else {
        Err("<< merges mappings: it needs a mapping or a sequence of them")
    }
}

/// Adds what `merged` has and `entries` doesn't; of several mappings the first has precedence
/// (<https://yaml.org/type/merge.html>).
fn merge(entries: &mut Map<String, Value>, lines: &mut BTreeMap<String, Lines>, merged: Node) {
    let sources = match merged.value {
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .filter_map(|(index, item)| Some((item, merged.lines.item(index)?.clone())))
            .collect(),
        value => vec![(value, merged.lines)],
    };
    for (source, source_lines) in sources {
        let Value::Object(source) = source else {
            continue;
        };
        for (key, value) in source {
            if entries.contains_key(&key) {
                continue;
            }
            if let Some(line) = source_lines.entry(&key) {
                lines.insert(key.clone(), line.clone());
            }
            entries.insert(key, value);
        }
    }
}
