//! `GET /containers/{id}/export`.

use tokio_util::io::ReaderStream;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn export(call: Call) -> Result<Reply, ApiError> {
    let archive = engine::container::export(call.engine(), call.name()).await?;
    Ok(reply::stream(
        "application/octet-stream",
        ReaderStream::with_capacity(archive, 64 << 10),
    ))
}
