//! Which part of a list is asked for, and where the next part is.

use http::StatusCode;
use mesh_model::validate::Violation;

use crate::error::ApiError;
use crate::path::Query;

pub(crate) const TITLE: &str = "Could not retrieve resources";
const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;

/// Part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) size: usize,
    pub(crate) offset: usize,
}

impl Page {
    /// Reads `size` and `offset`.
    ///
    /// # Errors
    /// The first of the two that is wrong.
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        let size = match query.first("size") {
            None => DEFAULT_SIZE,
            Some(text) => match text.parse::<i64>() {
                Err(_) => return Err(bad_size("invalid format".to_owned())),
                Ok(size) if size <= 0 => {
                    return Err(bad_size("must be greater than 0".to_owned()));
                }
                Ok(size) => usize::try_from(size)
                    .ok()
                    .filter(|size| *size <= MAX_SIZE)
                    .ok_or_else(|| bad_size(format!("is {size}, the most is {MAX_SIZE}")))?,
            },
        };
        let offset = match query.first("offset") {
            None => 0,
            Some(text) => text.parse().map_err(|_no_detail| {
                ApiError::problem(
                    StatusCode::BAD_REQUEST,
                    TITLE,
                    format!("invalid offset {text:?}: it is a number, not negative"),
                )
            })?,
        };
        Ok(Self { size, offset })
    }

    /// The offset of the page after this one, if there is one.
    pub(crate) fn next(self, total: usize) -> Option<usize> {
        let next = self.offset.checked_add(self.size)?;
        (next < total).then_some(next)
    }
}

fn bad_size(message: String) -> ApiError {
    let ApiError::Problem(mut problem) =
        ApiError::invalid(TITLE, vec![Violation::new("size", message)])
    else {
        unreachable!("an invalid request is a problem");
    };
    problem.detail = "Invalid page size".to_owned();
    ApiError::Problem(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<(usize, usize), String> {
        Page::parse(&Query::parse(query))
            .map(|p| (p.size, p.offset))
            .map_err(|e| match e {
                ApiError::Problem(p) => p.detail,
                other => format!("{other:?}"),
            })
    }

    #[test]
    fn absent_and_empty_parameters_have_defaults() {
        assert_eq!(page(""), Ok((100, 0)));
        assert_eq!(page("size=&offset="), Ok((100, 0)));
        assert_eq!(page("size=1000&offset=7&size=2"), Ok((1000, 7)));
    }

    #[test]
    fn size_is_checked_before_offset() {
        for size in ["0", "-1", "abc", "1.5", "1001", "99999999999999999999"] {
            let query = format!("size={size}&offset=abc");
            assert_eq!(page(&query), Err("Invalid page size".to_owned()), "{size}");
        }
        for offset in ["-1", "abc", "1.5"] {
            assert!(page(&format!("offset={offset}")).is_err(), "{offset}");
        }
    }

    #[test]
    fn the_last_page_has_no_next() {
        let page = Page { size: 2, offset: 2 };
        assert_eq!(page.next(5), Some(4));
        assert_eq!(page.next(4), None);
        assert_eq!(page.next(0), None);
    }
}
