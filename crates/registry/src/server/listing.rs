//! Lists: tags, repositories, referrers, and the search of old clients.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, LINK};
use http::{Response, StatusCode};
use oci::Digest;
use oci::media_type::OCI_INDEX;
use serde_json::{Value, json};

use super::call::Call;
use super::fault::{Code, Fault};
use super::reply::{self, Body, FILTERS_APPLIED};
use super::route::Query;

/// The most entries of one page: asking for more gives this many and a link to the rest.
const PAGE: u32 = 10_000;

/// The most referrers of one page; each may have annotations, and a page must stay below four MiB.
const REFERRERS_PAGE: u32 = 1000;

/// The largest page of referrers in bytes (the specification, "Listing Referrers").
const REFERRERS_BYTES: usize = 4 << 20;

/// The most results of a search at a time.
const SEARCH_PAGE: u32 = 100;

/// `GET /v2/<name>/tags/list`
pub(crate) async fn tags(call: Call, name: String) -> Result<Response<Body>, Fault> {
    let (count, last) = page(&call.query)?;
    let shared = Arc::clone(&call.shared);
    let fetched = match &shared.cache {
        Some(cache) => cache.tags(&name, count, &last).await?,
        None => None,
    };
    let repository = name.clone();
    let (tags, has_more) = match fetched {
        Some(page) => page,
        None => {
            let after = last.clone();
            shared
                .blocking(move |shared| {
                    let rows = &shared.store.rows;
                    if !rows.has_repository(&repository)? {
                        return Err(Fault::with_detail(
                            Code::NameUnknown,
                            json!({ "name": repository }),
                        ));
                    }
                    // One more tells whether there are more.
                    Ok(cut(rows.tags(&repository, &after, count + 1)?, count))
                })
                .await?
        }
    };
    let mut response = reply::json(StatusCode::OK, &json!({ "name": name, "tags": tags }));
    if has_more {
        let path = format!("/v2/{name}/tags/list");
        link(&mut response, &path, count, tags.last());
    }
    Ok(response)
}

/// `GET /v2/_catalog`
pub(crate) async fn catalog(call: Call) -> Result<Response<Body>, Fault> {
    let (count, last) = page(&call.query)?;
    let (names, has_more) = call
        .shared
        .blocking(move |shared| Ok(cut(shared.store.rows.names(&last, count + 1)?, count)))
        .await?;
    let mut response = reply::json(StatusCode::OK, &json!({ "repositories": names }));
    if has_more {
        link(&mut response, "/v2/_catalog", count, names.last());
    }
    Ok(response)
}

/// Returns how many entries are asked for, and after which.
fn page(query: &Query) -> Result<(u32, String), Fault> {
    let count = match query.get("n") {
        None | Some("") => PAGE,
        // What does not fit into 64 bits is as good as the most that is given.
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text
            .parse::<u64>()
            .map_or(PAGE, |count| u32::try_from(count).unwrap_or(PAGE).min(PAGE)),
        Some(text) => {
            return Err(Fault::with_detail(
                Code::PaginationNumberInvalid,
                json!({ "n": text.chars().take(32).collect::<String>() }),
            ));
        }
    };
    Ok((count, query.get("last").unwrap_or_default().to_owned()))
}

/// Takes what is too much off; true if something was.
fn cut(mut entries: Vec<String>, count: u32) -> (Vec<String>, bool) {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let has_more = count > 0 && entries.len() > count;
    entries.truncate(count);
    (entries, has_more)
}

fn link(response: &mut Response<Body>, path: &str, count: u32, last: Option<&String>) {
    // Names and tags have no character that a query must escape, but for the slash, which it need not.
    let last = last.map_or("", String::as_str);
    reply::set(
        response,
        LINK,
        &format!("<{path}?last={last}&n={count}>; rel=\"next\""),
    );
}

/// `GET /v2/<name>/referrers/<digest>`
pub(crate) async fn referrers(call: Call, name: String, digest: Digest) -> Result<Response<Body>, Fault> {
    let kind = call
        .query
        .get("artifactType")
        .filter(|kind| !kind.is_empty())
        .map(str::to_owned);
    let after = call.query.get("last").unwrap_or_default().to_owned();
    let shared = Arc::clone(&call.shared);
    let fetched = match &shared.cache {
        Some(cache) => cache.referrers(&name, &digest, kind.as_deref()).await?,
        None => None,
    };
    let (path, filter) = (format!("/v2/{name}/referrers/{digest}"), kind.clone());
    let (descriptors, next) = match fetched {
        Some(descriptors) => (descriptors, None),
        None => {
            shared
                .blocking(move |shared| {
                    let rows = shared.store.rows.referrers(
                        &name,
                        digest.as_str(),
                        filter.as_deref(),
                        &after,
                        REFERRERS_PAGE + 1,
                    )?;
                    Ok(referrers_page(&rows))
                })
                .await?
        }
    };
    let document = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors });
    let bytes = serde_json::to_vec(&document).unwrap_or_default();
    let mut response = reply::typed(StatusCode::OK, OCI_INDEX, bytes.into());
    if let Some(kind) = kind {
        reply::set(&mut response, FILTERS_APPLIED, "artifactType");
        if let Some(next) = next {
            // A plus in a query is a space to others.
            let kind = kind
                .replace('%', "%25")
                .replace('+', "%2B")
                .replace('&', "%26")
                .replace(['<', '>', '"', ' '], "");
            reply::set(
                &mut response,
                LINK,
                &format!("<{path}?artifactType={kind}&last={next}>; rel=\"next\""),
            );
        }
    } else if let Some(next) = next {
        reply::set(
            &mut response,
            LINK,
            &format!("<{path}?last={next}>; rel=\"next\""),
        );
    }
    Ok(response)
}

/// Returns the descriptors of one page, and the last digest if there are more.
fn referrers_page(rows: &[db::ManifestRow]) -> (Vec<Value>, Option<String>) {
    let limit = usize::try_from(REFERRERS_PAGE).unwrap_or(usize::MAX);
    let mut descriptors = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let mut descriptor = json!({ "mediaType": row.media_type, "digest": row.digest, "size": row.size });
        if let Some(kind) = &row.artifact_type {
            descriptor["artifactType"] = json!(kind);
        }
        let annotations = row
            .annotations
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        if let Some(annotations @ Value::Object(_)) = annotations {
            descriptor["annotations"] = annotations;
        }
        bytes += descriptor.to_string().len() + 1;
        // A single one is given however large it is: a manifest is below the limit itself.
        if descriptors.len() == limit || !descriptors.is_empty() && bytes > REFERRERS_BYTES - 1024 {
            let last: Option<&Value> = descriptors.last();
            let last = last.and_then(|last| last["digest"].as_str()).map(str::to_owned);
            return (descriptors, last);
        }
        descriptors.push(descriptor);
    }
    (descriptors, None)
}

/// `GET /v1/search`: what `docker search HOST/TERM` asks.
pub(crate) async fn search(call: Call) -> Result<Response<Body>, Fault> {
    let number = |name: &str, default: u32| -> u32 {
        let value = call.query.get(name).and_then(|text| text.parse().ok());
        value.filter(|number| *number > 0).unwrap_or(default)
    };
    let size = number("n", 25).min(SEARCH_PAGE);
    let page = number("page", 1);
    let term = call.query.get("q").unwrap_or_default().to_owned();
    let wanted = term.trim().to_ascii_lowercase();
    let (count, names) = call
        .shared
        .blocking(move |shared| {
            let offset = (page - 1).saturating_mul(size);
            Ok(shared.store.rows.search(&wanted, offset, size)?)
        })
        .await?;
    let results: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({
                "name": name, "description": "", "star_count": 0,
                "is_official": false, "is_automated": false, "is_trusted": false
            })
        })
        .collect();
    let document = json!({
        "query": term, "num_results": count, "num_pages": count.div_ceil(u64::from(size)),
        "page": page, "page_size": size, "results": results
    });
    Ok(reply::json(StatusCode::OK, &document))
}

/// `GET /v1/_ping`: what old clients ask before they search.
pub(crate) fn old_ping() -> Response<Body> {
    let mut response = reply::json(StatusCode::OK, &true);
    for (name, value) in [
        ("x-docker-registry-version", "0.9.1"),
        ("x-docker-registry-standalone", "true"),
    ] {
        let name = HeaderName::from_static(name);
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `GET /v2/`: says that this is a registry.
pub(crate) fn base() -> Response<Body> {
    let mut response = reply::json(StatusCode::OK, &json!({}));
    response.headers_mut().insert(CONTENT_LENGTH, 2.into());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn im_08_page_numbers() {
        for (query, expected) in [
            ("", Some(PAGE)),
            ("n=5", Some(5)),
            ("n=0", Some(0)),
            ("n=1000000000", Some(PAGE)),
            ("n=99999999999999999999999", Some(PAGE)),
            ("n=-1", None),
            ("n=x", None),
            ("n=1.5", None),
        ] {
            let found = page(&Query::parse(query)).ok().map(|(count, _)| count);
            assert_eq!(found, expected, "{query}");
        }
        assert_eq!(cut(vec!["a".into(), "b".into()], 1), (vec!["a".into()], true));
        assert_eq!(cut(vec!["a".into()], 1), (vec!["a".into()], false));
        assert_eq!(cut(vec!["a".into()], 0), (vec![], false));
    }

    #[test]
    fn pages_of_referrers_are_bounded() {
        let row = |digest: usize, annotation: usize| db::ManifestRow {
            digest: format!("sha256:{digest:064}"),
            media_type: "m".into(),
            size: 1,
            subject: None,
            artifact_type: None,
            annotations: Some(json!({ "a": "x".repeat(annotation) }).to_string()),
        };
        let rows: Vec<_> = (0..1001).map(|number| row(number, 1)).collect();
        let (page, next) = referrers_page(&rows);
        assert_eq!((page.len(), next), (1000, Some(rows[999].digest.clone())));
        let rows: Vec<_> = (0..5).map(|number| row(number, 1 << 20)).collect();
        let (page, next) = referrers_page(&rows);
        assert_eq!((page.len(), next), (3, Some(rows[2].digest.clone())));
        let (page, next) = referrers_page(&rows[..1]);
        assert_eq!((page.len(), next), (1, None));
    }
}
