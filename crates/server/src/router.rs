//! From method and path to a handler: one table, read from top to bottom.

use std::future::Future;
use std::pin::Pin;

use http::Method;

use crate::call::Call;
use crate::query::{Plus, decode};
use crate::reply::Reply;
use crate::status::ApiError;
use crate::version::ApiVersion;

/// A handler's answer, to come.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Reply, ApiError>> + Send>>;

/// One line of the table.
pub(crate) struct Route {
    method: Method,
    /// `/containers/{id}/json`; `{name..}` takes one or more segments (image names have slashes).
    pattern: &'static str,
    pub(crate) handler: fn(Call) -> Answer,
}

impl Route {
    pub(crate) const fn new(method: Method, pattern: &'static str, handler: fn(Call) -> Answer) -> Self {
        Self {
            method,
            pattern,
            handler,
        }
    }
}

/// What a path says.
pub(crate) struct Found<'a> {
    pub(crate) route: &'a Route,
    pub(crate) version: ApiVersion,
    /// The values of the pattern's names, in order.
    pub(crate) parameters: Vec<String>,
}

/// Finds the route of `path` (undecoded, without its query).
pub(crate) fn find<'a>(routes: &'a [Route], method: &Method, path: &str) -> Result<Found<'a>, ApiError> {
    let segments = segments(path)?;
    let mut segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let version = match segments.first().and_then(|first| first.strip_prefix('v')) {
        Some(text) if text.starts_with(|first: char| first.is_ascii_digit()) => {
            segments.remove(0);
            text.parse()
                .map_err(|_other: crate::version::NotAVersion| ApiError::page_not_found())?
        }
        _ => ApiVersion::CURRENT,
    };
    // As in Docker, a path with another method is a path that does not exist.
    for route in routes.iter().filter(|route| route.method == *method) {
        if let Some(parameters) = matches(route.pattern, &segments) {
            version
                .check()
                .map_err(|error| ApiError::invalid(error.to_string()))?;
            return Ok(Found {
                route,
                version,
                parameters,
            });
        }
    }
    Err(ApiError::page_not_found())
}

/// Splits and decodes a path. One trailing slash is forgiven; what two parties could read in two ways is refused:
/// empty segments and dots, also when they were escaped.
fn segments(path: &str) -> Result<Vec<String>, ApiError> {
    let path = path.strip_prefix('/').ok_or_else(ApiError::page_not_found)?;
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/')
        .map(|segment| {
            let segment = decode(segment, Plus::IsPlus)?;
            // A slash may be escaped in names of images.
            if segment.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(ApiError::page_not_found());
            }
            Ok(segment)
        })
        .collect()
}

fn matches(pattern: &str, segments: &[&str]) -> Option<Vec<String>> {
    let mut parameters = Vec::new();
    let mut pattern = pattern.split('/').skip(1);
    let mut rest = segments;
    while let Some(wanted) = pattern.next() {
        if wanted.ends_with("..}") {
            let after = pattern.clone().count();
            let taken = rest.len().checked_sub(after).filter(|taken| *taken > 0)?;
            parameters.push(rest[..taken].join("/"));
            rest = &rest[taken..];
            continue;
        }
        let (first, others) = rest.split_first()?;
        if wanted.starts_with('{') {
            parameters.push((*first).to_owned());
        } else if wanted != *first {
            return None;
        }
        rest = others;
    }
    rest.is_empty().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(_: Call) -> Answer {
        Box::pin(async { Err(ApiError::page_not_found()) })
    }

    fn table() -> Vec<Route> {
        [
            (Method::GET, "/_ping"),
            (Method::GET, "/containers/json"),
            (Method::GET, "/containers/{id}/json"),
            (Method::GET, "/images/{name..}/json"),
            (Method::DELETE, "/images/{name..}"),
        ]
        .into_iter()
        .map(|(method, pattern)| Route::new(method, pattern, handler))
        .collect()
    }

    fn lookup(method: Method, path: &str) -> Result<(String, Vec<String>, String), u16> {
        let table = table();
        match find(&table, &method, path) {
            Ok(found) => Ok((
                found.route.pattern.to_owned(),
                found.parameters,
                found.version.to_string(),
            )),
            Err(error) => Err(error.status.as_u16()),
        }
    }

    #[test]
    fn finds_routes() {
        for (path, pattern, parameters, version) in [
            ("/_ping", "/_ping", &[][..], "1.50"),
            ("/v1.30/_ping", "/_ping", &[], "1.30"),
            ("/containers/json", "/containers/json", &[], "1.50"),
            (
                "/v1.24/containers/abc/json",
                "/containers/{id}/json",
                &["abc"],
                "1.24",
            ),
            (
                "/images/a/b/c:1/json",
                "/images/{name..}/json",
                &["a/b/c:1"],
                "1.50",
            ),
            ("/images/a%2Fb/json", "/images/{name..}/json", &["a/b"], "1.50"),
            ("/images/json/json", "/images/{name..}/json", &["json"], "1.50"),
        ] {
            let (found, values, spoken) = lookup(Method::GET, path).unwrap();
            assert_eq!((found.as_str(), spoken.as_str()), (pattern, version), "{path}");
            assert_eq!(values, parameters, "{path}");
        }
        assert_eq!(lookup(Method::DELETE, "/images/x/y").unwrap().1, ["x/y"]);
    }

    #[test]
    fn refuses_others() {
        for (path, status) in [
            ("/", 404),
            ("", 404),
            ("/nothing", 404),
            ("/v1.99/_ping", 400),
            ("/v1.23/_ping", 400),
            ("/v1.99/nothing", 404),
            ("/v1.2.3/_ping", 404),
            ("//_ping", 404),
            ("/containers//json", 404),
            ("/containers/../json", 404),
            ("/containers/%2e%2e/json", 404),
            ("/images/a%2F..%2Fb/json", 404),
            ("/containers/%00/json", 400),
            ("/images/json/", 404),
            ("/images/json", 404),
        ] {
            assert_eq!(lookup(Method::GET, path).unwrap_err(), status, "{path}");
        }
        assert_eq!(lookup(Method::POST, "/_ping").unwrap_err(), 404);
    }
}
