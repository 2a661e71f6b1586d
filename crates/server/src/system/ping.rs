//! `GET` and `HEAD /_ping`: the cheapest request, by which clients learn the version.

use http::{HeaderValue, StatusCode};

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn ping(_call: Call) -> Result<Reply, ApiError> {
    let Reply::Http(mut response) =
        reply::typed(StatusCode::OK, "text/plain; charset=utf-8", reply::full("OK"))
    else {
        unreachable!("a typed reply is HTTP");
    };
    let headers = response.headers_mut();
    // 1 is the classic builder; 2 would promise BuildKit.
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    Ok(Reply::Http(response))
}
