//! From a request to its answer: what is the same for all of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ALLOW, CONTENT_LENGTH, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};

use super::auth::{Need, Visitor};
use super::call::Call;
use super::config::{Deletion, Mode};
use super::fault::{Code, Fault};
use super::reply::{self, Body};
use super::route::{self, Query, Route};
use super::shared::Shared;
use super::{blob, listing, manifest, upload};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Answers one request and writes a line about it.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let start = Instant::now();
    let method = request.method().clone();
    let target = request
        .uri()
        .path_and_query()
        .map_or("", |target| target.as_str())
        .to_owned();
    let agent = request
        .headers()
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or("-")
        .replace(['"', '\\'], "");
    let (visitor, answered) = respond(&shared, request).await;
    let mut response = match answered {
        Ok(response) => response,
        Err(fault) => {
            if let Some(cause) = &fault.cause {
                shared.log.line(format_args!("error: {method} {target}: {cause}"));
            }
            fault.into_response()
        }
    };
    let version = HeaderValue::from_static("registry/2.0");
    response.headers_mut().insert(API_VERSION, version);
    if method == Method::HEAD {
        let length = response.body().size_hint().exact().unwrap_or(0);
        response
            .headers_mut()
            .entry(CONTENT_LENGTH)
            .or_insert(length.into());
        *response.body_mut() = Body::Empty;
    }
    let size = response.body().size_hint().exact().unwrap_or(0);
    shared.log.line(format_args!(
        "{peer} {} {method} {target} {} size={size} ms={} \"{agent}\"",
        visitor.as_ref().map_or("-", |visitor| visitor.name.as_str()),
        response.status().as_u16(),
        start.elapsed().as_millis(),
    ));
    response
}

async fn respond(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> (Option<Visitor>, Result<Response<Body>, Fault>) {
    let route = match route::parse(request.uri().path()) {
        Ok(Some(route)) => route,
        Ok(None) => return (None, Ok(not_found())),
        Err(fault) => return (None, Err(fault)),
    };
    let method = request.method().clone();
    if !route.methods().contains(&method.as_str()) {
        let fault = Fault::new(Code::Unsupported).header(ALLOW, &route.methods().join(", "));
        return (None, Err(fault));
    }
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let (visitor, may_mount) = match admit(shared, &route, &method, &query, &parts.headers).await {
        Ok(admitted) => admitted,
        Err(fault) => return (None, Err(fault)),
    };
    if let Err(fault) = check_mode(shared, &route, &method) {
        return (Some(visitor), Err(fault));
    }
    let call = Call {
        shared: Arc::clone(shared),
        query,
        headers: parts.headers,
        body,
        is_head: method == Method::HEAD,
        may_mount,
    };
    let answer = if method == Method::GET || method == Method::HEAD {
        dispatch(call, route, method).await
    } else {
        // What changes something is carried to its end also when its client is gone.
        match tokio::spawn(dispatch(call, route, method)).await {
            Ok(answer) => answer,
            Err(error) => Err(Fault::internal_text(format!("a request failed: {error}"))),
        }
    };
    (Some(visitor), answer)
}

/// Lets a request in; also tells whether it may read the repository that it wants to mount from.
async fn admit(
    shared: &Shared,
    route: &Route,
    method: &Method,
    query: &Query,
    headers: &http::HeaderMap,
) -> Result<(Visitor, bool), Fault> {
    let needs = needs(route, method);
    let Some(mut needs) = needs else {
        let nobody = super::auth::Guard::Open.admit(headers, &[]).await?;
        return Ok((nobody, false));
    };
    let source = match route {
        Route::Uploads { .. } if query.get("mount").is_some() => query.get("from"),
        _ => None,
    };
    let Some(source) = source.and_then(|name| route::repository_name(name).ok()) else {
        return Ok((shared.guard.admit(headers, &needs).await?, false));
    };
    needs.push(Need::repository(&source, &["pull"]));
    match shared.guard.admit(headers, &needs).await {
        Ok(visitor) => Ok((visitor, true)),
        // Who may push but not read there gets an ordinary upload. The first answer still asks for both.
        Err(fault) => match shared.guard.admit(headers, &needs[..needs.len() - 1]).await {
            Ok(visitor) => Ok((visitor, false)),
            Err(_) => Err(fault),
        },
    }
}

/// Returns what a request needs to be allowed; `None`: it is for everybody.
fn needs(route: &Route, method: &Method) -> Option<Vec<Need>> {
    let repository = |name: &String, actions| Some(vec![Need::repository(name, actions)]);
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match route {
        Route::OldPing => None,
        Route::Base => Some(Vec::new()),
        Route::Catalog | Route::Search => Some(vec![Need::catalog()]),
        Route::Uploads { name } | Route::Upload { name, .. } => repository(name, &["pull", "push"]),
        Route::Tags { name } | Route::Referrers { name, .. } => repository(name, &["pull"]),
        Route::Manifest { name, .. } | Route::Blob { name, .. } if is_read => repository(name, &["pull"]),
        Route::Manifest { name, .. } | Route::Blob { name, .. } if *method == Method::DELETE => {
            repository(name, &["delete"])
        }
        Route::Manifest { name, .. } | Route::Blob { name, .. } => repository(name, &["pull", "push"]),
    }
}

/// Refuses what this registry does not do at all.
fn check_mode(shared: &Shared, route: &Route, method: &Method) -> Result<(), Fault> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    if shared.cache.is_some() {
        return Err(Fault::because(
            Code::Unsupported,
            "this registry is a cache of another",
        ));
    }
    if shared.mode == Mode::ReadOnly {
        return Err(Fault::because(Code::Unsupported, "this registry is read-only"));
    }
    let is_removal = *method == Method::DELETE && !matches!(route, Route::Upload { .. });
    if is_removal && shared.deletion == Deletion::Refused {
        return Err(Fault::because(Code::Unsupported, "this registry removes nothing"));
    }
    Ok(())
}

async fn dispatch(call: Call, route: Route, method: Method) -> Result<Response<Body>, Fault> {
    match (route, method) {
        (Route::Base, _) => Ok(listing::base()),
        (Route::OldPing, _) => Ok(listing::old_ping()),
        (Route::Search, _) => listing::search(call).await,
        (Route::Catalog, _) => listing::catalog(call).await,
        (Route::Tags { name }, _) => listing::tags(call, name).await,
        (Route::Referrers { name, digest }, _) => listing::referrers(call, name, digest).await,
        (Route::Manifest { name, reference }, Method::PUT) => manifest::put(call, name, reference).await,
        (Route::Manifest { name, reference }, Method::DELETE) => {
            manifest::remove(call, name, reference).await
        }
        (Route::Manifest { name, reference }, _) => manifest::get(call, name, reference).await,
        (Route::Blob { name, digest }, Method::DELETE) => blob::remove(call, name, digest).await,
        (Route::Blob { name, digest }, _) => blob::get(call, name, digest).await,
        (Route::Uploads { name }, _) => upload::begin(call, name).await,
        (Route::Upload { name, id }, Method::PATCH) => upload::append(call, name, id).await,
        (Route::Upload { name, id }, Method::PUT) => upload::complete(call, name, id).await,
        (Route::Upload { name, id }, Method::DELETE) => upload::cancel(call, name, id).await,
        (Route::Upload { name, id }, _) => upload::show(call, name, id).await,
    }
}

fn not_found() -> Response<Body> {
    reply::typed(
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        "404 page not found\n".into(),
    )
}
