//! From the filters of a rule to what Envoy does with a request on its way.

use mesh_proto::mesh::mesh_gateway_route::Backend;
use mesh_proto::mesh::mesh_gateway_route::http_route::filter::{
    self, HeaderFilter, Mirror, Redirect, rewrite,
};
use mesh_proto::mesh::mesh_gateway_route::http_route::{Rule, filter as filters};

use crate::backend::{Context, NO_SERVICE, destination};
use crate::cluster::Uses;
use crate::envoy::{core, matcher, percent, route};
use crate::matching::Matching;
use crate::plan::Protocol;
use crate::refuse;

use core::header_value_option::HeaderAppendAction;
use route::redirect_action::RedirectResponseCode;
use route::route_action::HostRewriteSpecifier;

/// The filters of one rule.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    pub(crate) request: Headers,
    pub(crate) response: Headers,
    pub(crate) host: Option<HostRewriteSpecifier>,
    pub(crate) mirrors: Vec<route::route_action::RequestMirrorPolicy>,
    /// Without its path, which differs by entry.
    pub(crate) redirect: Option<route::RedirectAction>,
    path: Option<rewrite::Path>,
}

/// Changes to the headers of a request or response. Envoy removes before it adds.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    pub(crate) add: Vec<core::HeaderValueOption>,
    pub(crate) remove: Vec<String>,
}

/// What happens to the path of a request that an entry matched.
#[derive(Debug)]
pub(crate) enum Rewrite {
    /// All of the path is replaced.
    Full(matcher::RegexMatchAndSubstitute),
    /// The matched prefix is replaced by this.
    Prefix(String),
}

impl Filters {
    /// The filters of a rule. What Envoy would refuse is left out and reported.
    pub(crate) fn compile(
        rule: &Rule,
        context: &Context<'_>,
        clusters: &mut Uses,
        report: &mut impl FnMut(&str, String),
    ) -> Self {
        let mut compiled = Self::default();
        for (index, filter) in rule.filters.iter().enumerate() {
            let mut report = |field: &str, message: String| {
                report(&format!(".filters[{index}]{field}"), message)
            };
            match &filter.filter {
                Some(filters::Filter::RequestHeader(headers)) => {
                    let host = compiled.request.extend(headers, true, &mut report);
                    compiled.host = host
                        .map(HostRewriteSpecifier::HostRewriteLiteral)
                        .or(compiled.host.take());
                }
                Some(filters::Filter::ResponseHeader(headers)) => {
                    compiled.response.extend(headers, false, &mut report);
                }
                Some(filters::Filter::Mirror(mirror)) => {
                    compiled.mirror(mirror, context, clusters, &mut report);
                }
                Some(filters::Filter::Redirect(redirect)) => {
                    compiled.redirect(redirect, context, &mut report);
                }
                Some(filters::Filter::Rewrite(rewrite)) => {
                    let path = rewrite.path.as_ref();
                    match path.map_or(Ok(()), |path| refuse::line(text_of(path))) {
                        Ok(()) => {
                            if compiled.path.is_some() {
                                let message = "a rule has one rewrite; what the one before it \
                                               says of the path is left out";
                                report(".rewrite", message.to_owned());
                            }
                            compiled.path = path.cloned();
                        }
                        Err(message) => report(".rewrite", message),
                    }
                    let literal = matches!(
                        compiled.host,
                        Some(HostRewriteSpecifier::HostRewriteLiteral(_))
                    );
                    if rewrite.host_to_backend_hostname && !literal {
                        compiled.host = Some(HostRewriteSpecifier::AutoHostRewrite(true));
                    }
                }
                None => report("", "it says nothing that is known here".to_owned()),
            }
        }
        compiled
    }

    /// The backends that a rule mirrors requests to, with the position of their filter.
    pub(crate) fn mirrors(rule: &Rule) -> impl Iterator<Item = (usize, &Backend)> {
        rule.filters
            .iter()
            .enumerate()
            .filter_map(|(index, filter)| match &filter.filter {
                Some(filters::Filter::Mirror(mirror)) => {
                    mirror.percentage.and_then(fraction)?;
                    Some((index, mirror.backend.as_ref()?))
                }
                _ => None,
            })
    }

    /// Whether the prefix of a prefix match is replaced in paths.
    pub(crate) fn replaces_prefix(&self) -> bool {
        matches!(&self.path, Some(rewrite::Path::ReplacePrefixMatch(_)))
    }

    /// Whether it is replaced by something other than `/`.
    pub(crate) fn rewrites_prefix(&self) -> bool {
        matches!(&self.path, Some(rewrite::Path::ReplacePrefixMatch(to)) if !to.trim_end_matches('/').is_empty())
    }

    /// What an entry does to paths. A replacement of the matched prefix is for prefix matches.
    pub(crate) fn rewrite_of(&self, variant: &Matching) -> Option<Rewrite> {
        match self.path.as_ref()? {
            rewrite::Path::ReplaceFull(to) => Some(replace_all(to)),
            rewrite::Path::ReplacePrefixMatch(_) if !variant.is_of_prefix => None,
            rewrite::Path::ReplacePrefixMatch(to) => {
                let stem = to.trim_end_matches('/');
                Some(match (variant.is_implied, stem) {
                    (true, "") => replace_all("/"),
                    (true, stem) => replace_all(stem),
                    (false, stem) => Rewrite::Prefix(format!("{stem}/")),
                })
            }
        }
    }

    fn mirror(
        &mut self,
        mirror: &Mirror,
        context: &Context<'_>,
        clusters: &mut Uses,
        report: &mut impl FnMut(&str, String),
    ) {
        let Some(share) = mirror.percentage.and_then(fraction) else {
            return;
        };
        let name = mirror
            .backend
            .as_ref()
            .and_then(|backend| destination(backend, context, clusters));
        match name {
            Some(name) => self.mirrors.push(route::route_action::RequestMirrorPolicy {
                cluster: name.to_string(),
                runtime_fraction: Some(core::RuntimeFractionalPercent {
                    default_value: Some(share),
                    runtime_key: String::new(),
                }),
            }),
            None => report(".mirror.backend", NO_SERVICE.to_owned()),
        }
    }

    fn redirect(
        &mut self,
        redirect: &Redirect,
        context: &Context<'_>,
        report: &mut impl FnMut(&str, String),
    ) {
        let path = redirect.path.as_ref().and_then(|path| path.path.as_ref());
        let texts = [
            (".redirect.hostname", redirect.hostname.as_str()),
            (".redirect.scheme", redirect.scheme.as_str()),
            (".redirect.path", path.map_or("", text_of)),
        ];
        for (field, text) in texts {
            if let Err(message) = refuse::line(text) {
                // Without it, requests would be sent somewhere else than is meant.
                report(field, message);
                return;
            }
        }
        let code = match redirect.status_code {
            301 => RedirectResponseCode::MovedPermanently,
            0 | 302 => RedirectResponseCode::Found,
            303 => RedirectResponseCode::SeeOther,
            307 => RedirectResponseCode::TemporaryRedirect,
            308 => RedirectResponseCode::PermanentRedirect,
            other => {
                report(
                    ".redirect.statusCode",
                    format!("{other} is not a status that Envoy redirects with; 302 is used"),
                );
                RedirectResponseCode::Found
            }
        };
        let scheme = redirect.scheme.to_ascii_lowercase();
        let port = match (redirect.port, scheme.as_str(), context.protocol) {
            // Another scheme has another port, and the listener's is surely not it.
            (0, "https", Protocol::Http) => 443,
            (0, "http", Protocol::Https) => 80,
            (0, ..) => context.port,
            (port, ..) => port,
        };
        self.redirect = Some(route::RedirectAction {
            host_redirect: redirect.hostname.clone(),
            response_code: code.into(),
            path_rewrite_specifier: None,
            strip_query: true,
            scheme_rewrite_specifier: (!scheme.is_empty())
                .then_some(route::redirect_action::SchemeRewriteSpecifier::SchemeRedirect(scheme)),
            port_redirect: port,
        });
        self.path = path.cloned();
    }
}

impl Headers {
    /// Takes the changes of one filter; returns the host that it sets, for requests.
    fn extend(
        &mut self,
        filter: &HeaderFilter,
        is_request: bool,
        report: &mut impl FnMut(&str, String),
    ) -> Option<String> {
        let kind = if is_request {
            ".requestHeader"
        } else {
            ".responseHeader"
        };
        let mut host = None;
        for (index, header) in filter.set.iter().enumerate() {
            if is_request && is_host(&header.name) {
                match refuse::line(&header.value) {
                    Ok(()) => host = Some(header.value.clone()),
                    Err(message) => report(&format!("{kind}.set[{index}]"), message),
                }
                continue;
            }
            let option = to_option(header, HeaderAppendAction::OverwriteIfExistsOrAdd);
            match option.and_then(|option| self.push(option)) {
                Ok(()) => {}
                Err(message) => report(&format!("{kind}.set[{index}]"), message),
            }
        }
        for (index, header) in filter.add.iter().enumerate() {
            let option = to_option(header, HeaderAppendAction::AppendIfExistsOrAdd);
            match option.and_then(|option| self.push(option)) {
                Ok(()) => {}
                Err(message) => report(&format!("{kind}.add[{index}]"), message),
            }
        }
        for (index, name) in filter.remove.iter().enumerate() {
            match refuse::changed_header(name) {
                Ok(()) => self.remove.push(name.clone()),
                Err(message) => report(&format!("{kind}.remove[{index}]"), message),
            }
        }
        host
    }

    fn push(&mut self, option: core::HeaderValueOption) -> Result<(), String> {
        refuse::one_more_header(self.add.len())?;
        self.add.push(option);
        Ok(())
    }
}

/// What a path becomes, or a part of it.
fn text_of(path: &rewrite::Path) -> &str {
    match path {
        rewrite::Path::ReplaceFull(to) | rewrite::Path::ReplacePrefixMatch(to) => to,
    }
}

fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

fn to_option(
    header: &filter::header_filter::Header,
    action: HeaderAppendAction,
) -> Result<core::HeaderValueOption, String> {
    refuse::changed_header(&header.name)?;
    refuse::set_header(&header.name)?;
    refuse::header_value(&header.value)?;
    Ok(core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: header.name.clone(),
            value: header.value.clone(),
        }),
        append_action: action.into(),
    })
}

/// Replaces the path; a backslash in the replacement is one, and no reference to a group.
fn replace_all(to: &str) -> Rewrite {
    Rewrite::Full(matcher::RegexMatchAndSubstitute {
        pattern: Some(matcher::RegexMatcher {
            regex: ".*".to_owned(),
        }),
        substitution: to.replace('\\', "\\\\"),
    })
}

/// A percentage as a fraction with the smallest denominator that keeps it; `None` for no share.
fn fraction(percentage: f64) -> Option<percent::FractionalPercent> {
    use percent::fractional_percent::DenominatorType::{Hundred, Million, TenThousand};
    if percentage.is_nan() || percentage <= 0.0 {
        return None;
    }
    let percentage = percentage.min(100.0);
    let whole = |scale: f64| (percentage * scale).fract() == 0.0;
    let (scale, denominator) = if whole(1.0) {
        (1.0, Hundred)
    } else if whole(100.0) {
        (100.0, TenThousand)
    } else {
        (10_000.0, Million)
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a million, rounded"
    )]
    let numerator = (percentage * scale).round() as u32;
    Some(percent::FractionalPercent {
        numerator,
        denominator: denominator.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent::fractional_percent::DenominatorType;

    #[test]
    fn percentages_keep_their_digits() {
        for (percentage, expected) in [
            (0.0, None),
            (-1.0, None),
            (f64::NAN, None),
            (1.0, Some((1, DenominatorType::Hundred))),
            (100.0, Some((100, DenominatorType::Hundred))),
            (12.5, Some((1250, DenominatorType::TenThousand))),
            (62.9, Some((6290, DenominatorType::TenThousand))),
            (0.001, Some((10, DenominatorType::Million))),
        ] {
            let actual = fraction(percentage).map(|f| (f.numerator, f.denominator()));
            assert_eq!(actual, expected, "{percentage}");
        }
    }
}
