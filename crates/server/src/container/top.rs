//! `GET /containers/{id}/top`.

use api_types::container::TopReply;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn top(call: Call) -> Result<Reply, ApiError> {
    let ps_args = call.query.get("ps_args").unwrap_or("-ef");
    let processes = engine::container::top(call.engine(), call.name(), ps_args).await?;
    Ok(reply::ok(&TopReply {
        titles: processes.titles,
        processes: processes.rows,
    }))
}
