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
    /// The exact entry beside the entry of a prefix: nobody wrote it.
    pub(crate) is_implied: bool,
    /// Whether the entry comes from a prefix match.
    pub(crate) is_of_prefix: bool,
}

/// Why a match has no form that Envoy takes: the field, as `.headers[0]`, and a sentence.
pub(crate) type Refused = (String, String);

/// The entries of a match. A prefix means whole path elements, so it has two: `/api` itself, and
/// what begins with `/api/`. The prefix `/` needs its own exact entry only when paths are
/// rewritten.
pub(crate) fn compile(matched: &Match, rewrites_prefix: bool) -> Result<Vec<Matching>, Refused> {
    let conditions = Conditions::new(matched)?;
    let path = matched.path.as_ref();
    let value = path.map_or("/", |path| path.value.as_str());
    let kind = path.map_or(path::MatchType::Prefix, |path| path.r#match());
    Ok(match kind {
        path::MatchType::Exact => vec![conditions.to_matching(PathKind::Exact, value.to_owned())],
        path::MatchType::Regex => {
            refuse::regex(value).map_err(|message| (".path.value".to_owned(), message))?;
            vec![conditions.to_matching(PathKind::Regex, value.to_owned())]
        }
        path::MatchType::Prefix => {
            let stem = value.trim_end_matches('/');
            let mut prefix = conditions.to_matching(PathKind::Prefix, format!("{stem}/"));
            prefix.is_of_prefix = true;
            let exact = match stem {
                "" if !rewrites_prefix => None,
                "" => Some("/"),
                stem => Some(stem),
            };
            let exact = exact.map(|path| {
                let mut exact = conditions.to_matching(PathKind::Exact, path.to_owned());
                exact.is_of_prefix = true;
                exact.is_implied = true;
                exact
            });
            exact.into_iter().chain([prefix]).collect()
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
            refuse::match_name(&condition.name).map_err(refused)?;
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

    fn to_matching(&self, kind: PathKind, path: String) -> Matching {
        use route::route_match::PathSpecifier;
        let specificity = Specificity::new(
            kind,
            &path,
            self.has_method,
            self.headers.len() - usize::from(self.has_method),
            self.queries.len(),
        );
        Matching {
            matcher: route::RouteMatch {
                path_specifier: Some(match kind {
                    PathKind::Exact => PathSpecifier::Path(path),
                    PathKind::Prefix => PathSpecifier::Prefix(path),
                    PathKind::Regex => {
                        PathSpecifier::SafeRegex(matcher::RegexMatcher { regex: path })
                    }
                }),
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
