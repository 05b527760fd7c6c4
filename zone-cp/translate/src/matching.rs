//! From a match of a rule to Envoy's conditions, and how specific they are.

use mesh_proto::mesh::HttpMethod;
use mesh_proto::mesh::mesh_gateway_route::http_route::Match;
use mesh_proto::mesh::mesh_gateway_route::http_route::r#match::{header, path, query};

use crate::envoy::{matcher, route};
use crate::order::{PathKind, Specificity};
use crate::refuse;

/// Envoy's conditions for one entry.
#[derive(Debug)]
pub(crate) struct Matching {
    pub(crate) matcher: route::RouteMatch,
    pub(crate) specificity: Specificity,
    /// The entry for the bare path of a prefix, beside the one for what is below it.
    pub(crate) is_implied: bool,
    /// Whether the entry comes from a prefix match.
    pub(crate) is_of_prefix: bool,
}

/// Why a match has no form that Envoy takes: the field, as `.headers[0]`, and a sentence.
pub(crate) type Refused = (String, String);

/// The entries of a match.
///
/// A prefix means whole path elements: `/api` matches itself and what begins with `/api/`. Envoy has
/// a condition for that. Where the two parts become different paths (`replaces_prefix`) they need an
/// entry each, and the prefix `/` needs one for `/` itself if that becomes something else
/// (`rewrites_prefix`).
pub(crate) fn compile(
    matched: &Match,
    replaces_prefix: bool,
    rewrites_prefix: bool,
) -> Result<Vec<Matching>, Refused> {
    use route::route_match::PathSpecifier;
    let conditions = Conditions::new(matched)?;
    let path = matched.path.as_ref();
    let value = path.map_or("/", |path| path.value.as_str());
    let kind = path.map_or(path::MatchType::Prefix, |path| path.r#match());
    Ok(match kind {
        path::MatchType::Exact => {
            let condition = PathSpecifier::Path(value.to_owned());
            vec![conditions.to_matching(PathKind::Exact, value, condition)]
        }
        path::MatchType::Regex => {
            refuse::regex(value).map_err(|message| (".path.value".to_owned(), message))?;
            let condition = PathSpecifier::SafeRegex(matcher::RegexMatcher {
                regex: value.to_owned(),
            });
            vec![conditions.to_matching(PathKind::Regex, value, condition)]
        }
        path::MatchType::Prefix => {
            let stem = value.trim_end_matches('/');
            let below = format!("{stem}/");
            let entry = |condition| {
                let mut entry = conditions.to_matching(PathKind::Prefix, &below, condition);
                entry.is_of_prefix = true;
                entry
            };
            // Envoy's own condition on the value of its field.
            let is_separable = stem.chars().nth(1).is_some() && !stem.contains(['?', '#']);
            if is_separable && !replaces_prefix {
                return Ok(vec![entry(PathSpecifier::PathSeparatedPrefix(
                    stem.to_owned(),
                ))]);
            }
            let bare = match stem {
                "" if !rewrites_prefix => None,
                "" => Some("/"),
                stem => Some(stem),
            };
            let bare = bare.map(|path| {
                let mut bare = entry(PathSpecifier::Path(path.to_owned()));
                bare.is_implied = true;
                bare
            });
            let below = entry(PathSpecifier::Prefix(below.clone()));
            bare.into_iter().chain([below]).collect()
        }
    })
}

/// The conditions of a match other than its path.
struct Conditions {
    headers: Vec<route::HeaderMatcher>,
    queries: Vec<route::QueryParameterMatcher>,
    has_method: bool,
}

impl Conditions {
    fn new(matched: &Match) -> Result<Self, Refused> {
        let mut headers = Vec::new();
        let method = matched.method();
        let has_method = method != HttpMethod::None;
        if has_method {
            headers.push(header(":method", string(exact(method.as_str_name()))));
        }
        // Grouped by kind, in the order in which they are written.
        let kinds = [
            header::MatchType::Exact,
            header::MatchType::Regex,
            header::MatchType::Present,
            header::MatchType::Absent,
        ];
        for (index, condition) in matched.headers.iter().enumerate() {
            let refused = |message| (format!(".headers[{index}]"), message);
            refuse::match_name(&condition.name).map_err(refused)?;
            if condition.r#match() == header::MatchType::Regex {
                refuse::regex(&condition.value).map_err(refused)?;
            }
        }
        for kind in kinds {
            for condition in matched.headers.iter().filter(|h| h.r#match() == kind) {
                use route::header_matcher::HeaderMatchSpecifier::PresentMatch;
                headers.push(header(
                    &condition.name,
                    match kind {
                        header::MatchType::Exact => string(exact(&condition.value)),
                        header::MatchType::Regex => string(regex(&condition.value)),
                        header::MatchType::Present => PresentMatch(true),
                        header::MatchType::Absent => PresentMatch(false),
                    },
                ));
            }
        }
        let mut queries = Vec::new();
        for (index, condition) in matched.query_parameters.iter().enumerate() {
            let refused = |message| (format!(".queryParameters[{index}]"), message);
            refuse::query_name(&condition.name).map_err(refused)?;
            if condition.r#match() == query::MatchType::Regex {
                refuse::regex(&condition.value).map_err(refused)?;
            }
        }
        for kind in [query::MatchType::Exact, query::MatchType::Regex] {
            for condition in matched
                .query_parameters
                .iter()
                .filter(|q| q.r#match() == kind)
            {
                use route::query_parameter_matcher::QueryParameterMatchSpecifier::StringMatch;
                queries.push(route::QueryParameterMatcher {
                    name: condition.name.clone(),
                    query_parameter_match_specifier: Some(StringMatch(match kind {
                        query::MatchType::Exact => exact(&condition.value),
                        query::MatchType::Regex => regex(&condition.value),
                    })),
                });
            }
        }
        Ok(Self {
            headers,
            queries,
            has_method,
        })
    }

    /// An entry that stands where `kind` and `path` put it.
    fn to_matching(
        &self,
        kind: PathKind,
        path: &str,
        condition: route::route_match::PathSpecifier,
    ) -> Matching {
        let specificity = Specificity::new(
            kind,
            path,
            self.has_method,
            self.headers.len() - usize::from(self.has_method),
            self.queries.len(),
        );
        Matching {
            matcher: route::RouteMatch {
                path_specifier: Some(condition),
                headers: self.headers.clone(),
                query_parameters: self.queries.clone(),
            },
            specificity,
            is_implied: false,
            is_of_prefix: false,
        }
    }
}

fn header(
    name: &str,
    specifier: route::header_matcher::HeaderMatchSpecifier,
) -> route::HeaderMatcher {
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
    }
}

fn string(matcher: matcher::StringMatcher) -> route::header_matcher::HeaderMatchSpecifier {
    route::header_matcher::HeaderMatchSpecifier::StringMatch(matcher)
}

fn exact(value: &str) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(
            value.to_owned(),
        )),
    }
}

fn regex(value: &str) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::SafeRegex(
            matcher::RegexMatcher {
                regex: value.to_owned(),
            },
        )),
    }
}
