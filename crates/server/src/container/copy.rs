//! `HEAD`, `GET` and `PUT /containers/{id}/archive`.

use api_types::container::PathStat;
use engine::container::{ExtractRequest, PathFacts};
use http::header::HeaderValue;
use http::{HeaderName, StatusCode};
use tokio_util::io::ReaderStream;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::signed;

/// The header that says what a path is.
const PATH_STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

pub(crate) async fn look(call: Call) -> Result<Reply, ApiError> {
    let path = path(&call)?;
    let facts = engine::container::look_at(call.engine(), call.name(), &path).await?;
    with_facts(reply::empty(StatusCode::OK), &facts)
}

pub(crate) async fn get(call: Call) -> Result<Reply, ApiError> {
    let path = path(&call)?;
    let (facts, archive) = engine::container::copy_out(call.engine(), call.name(), &path).await?;
    let stream = ReaderStream::with_capacity(archive, 64 << 10);
    with_facts(reply::stream("application/x-tar", stream), &facts)
}

pub(crate) async fn put(call: Call) -> Result<Reply, ApiError> {
    let request = ExtractRequest {
        path: path(&call)?,
        keep_kinds: call.query.flag("noOverwriteDirNonDir"),
        copy_ids: call.query.flag("copyUIDGID"),
    };
    let (engine, name) = (call.engine().clone(), call.name().to_owned());
    engine::container::copy_in(&engine, &name, request, call.into_reader()).await?;
    Ok(reply::empty(StatusCode::OK))
}

fn path(call: &Call) -> Result<String, ApiError> {
    match call.query.get("path") {
        Some(path) => Ok(path.to_owned()),
        None => Err(ApiError::invalid("bad parameter: path cannot be empty")),
    }
}

fn with_facts(reply: Reply, facts: &PathFacts) -> Result<Reply, ApiError> {
    let stat = PathStat {
        name: facts.name.clone(),
        size: signed(facts.size),
        mode: go_mode(facts.mode),
        mtime: facts.modified.to_string(),
        link_target: facts.link_target.clone(),
    };
    let failed = |error: String| ApiError::new(base::error::Kind::Internal, error);
    let text = serde_json::to_vec(&stat).map_err(|error| failed(error.to_string()))?;
    let value =
        HeaderValue::from_str(&base::base64::encode(&text)).map_err(|error| failed(error.to_string()))?;
    let Reply::Http(mut response) = reply else {
        return Ok(reply);
    };
    response.headers_mut().insert(PATH_STAT, value);
    Ok(Reply::Http(response))
}

/// Returns Go's `os.FileMode`: the permissions as in Unix, everything else at bits of its own.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let bits = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special: u32 = bits
        .into_iter()
        .filter(|(bit, _)| mode & bit != 0)
        .map(|(_, go)| go)
        .sum();
    kind | special | (mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_go() {
        for (mode, go) in [
            (0o040_755, 2_147_484_141),
            (0o120_777, 134_218_239),
            (0o100_644, 0o644),
            (0o104_755, 1 << 23 | 0o755),
            (0o041_777, 1 << 31 | 1 << 20 | 0o777),
            (0o020_666, 1 << 26 | 1 << 21 | 0o666),
        ] {
            assert_eq!(go_mode(mode), go, "{mode:o}");
        }
    }
}
