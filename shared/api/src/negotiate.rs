//! What the caller sends and accepts: JSON, or nothing.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method};

use crate::error::ApiError;

const JSON: &str = "application/json";

/// Checks the body's type, then what the caller accepts.
///
/// # Errors
/// [`ApiError::UnsupportedMediaType`] or [`ApiError::NotAcceptable`].
pub(crate) fn check(method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    if !is_json_sent(method, headers) {
        return Err(ApiError::UnsupportedMediaType);
    }
    if !is_json_accepted(headers) {
        return Err(ApiError::NotAcceptable);
    }
    Ok(())
}

fn is_json_sent(method: &Method, headers: &HeaderMap) -> bool {
    match text(headers, &CONTENT_TYPE) {
        None | Some("") => !matches!(*method, Method::PUT | Method::POST | Method::PATCH),
        // Case matters to the server whose answers these are.
        Some(value) => media_types(value).any(|t| t == JSON),
    }
}

fn is_json_accepted(headers: &HeaderMap) -> bool {
    match text(headers, &ACCEPT) {
        None | Some("") => true,
        Some(value) => media_types(value).any(|t| t == JSON || t == "*/*"),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    // A value that is no text matches nothing.
    headers.get(name).map(|v| v.to_str().unwrap_or("?"))
}

fn media_types(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(|part| part.split(';').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(method: &Method, headers: &[(http::HeaderName, &str)]) -> Result<(), ApiError> {
        let headers = headers
            .iter()
            .map(|(k, v)| (k.clone(), v.parse().unwrap()))
            .collect();
        check(method, &headers)
    }

    #[test]
    fn a_write_says_that_it_sends_json() {
        let put = |t: &str| answer(&Method::PUT, &[(CONTENT_TYPE, t)]);
        assert_eq!(put("application/json"), Ok(()));
        assert_eq!(put("application/json; charset=utf-8"), Ok(()));
        for other in [
            "",
            "APPLICATION/JSON",
            "text/plain",
            "application/merge-patch+json",
        ] {
            assert_eq!(put(other), Err(ApiError::UnsupportedMediaType), "{other}");
        }
        assert_eq!(
            answer(&Method::POST, &[]),
            Err(ApiError::UnsupportedMediaType)
        );
        assert_eq!(answer(&Method::DELETE, &[]), Ok(()));
        assert_eq!(
            answer(&Method::DELETE, &[(CONTENT_TYPE, "text/plain")]),
            Err(ApiError::UnsupportedMediaType)
        );
    }

    #[test]
    fn a_caller_accepts_json() {
        let get = |t: &str| answer(&Method::GET, &[(ACCEPT, t)]);
        for good in [
            "",
            "*/*",
            "application/json",
            "text/html, application/json;q=0.5",
        ] {
            assert_eq!(get(good), Ok(()), "{good}");
        }
        for bad in ["text/plain", "application/*", "nonsense"] {
            assert_eq!(get(bad), Err(ApiError::NotAcceptable), "{bad}");
        }
    }
}
