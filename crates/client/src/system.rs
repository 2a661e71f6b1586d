//! Calls about the daemon itself.

use api_types::event::Event;
use api_types::system::{DiskUsage, SystemCheck};
use http::Method;
use serde_json::value::RawValue;

use crate::stream::JsonStream;
use crate::{Client, ClientError, Filters, Query};

/// What a daemon says to a ping.
#[derive(Clone, Debug, Default)]
pub struct Ping {
    /// The newest API version that it speaks.
    pub api_version: String,
    /// `linux`.
    pub os: String,
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventsOptions {
    /// Seconds since the epoch or empty: from when.
    pub since: String,
    /// Seconds since the epoch or empty: the stream ends there.
    pub until: String,
    /// Which ones.
    pub filters: Filters,
}

impl Client {
    /// Asks whether the daemon answers, and which version it speaks.
    pub async fn ping(&self) -> Result<Ping, ClientError> {
        let head = self.head("/_ping").await?;
        let header = |name: &str| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Ok(Ping {
            api_version: header("api-version"),
            os: header("ostype"),
        })
    }

    /// Returns versions of the daemon and its parts, as it wrote them.
    pub async fn version_info(&self) -> Result<Box<RawValue>, ClientError> {
        self.get(&Query::new(&["version"])).await
    }

    /// Returns what the daemon says of itself and the host, as it wrote it.
    pub async fn info(&self) -> Result<Box<RawValue>, ClientError> {
        self.get(&Query::new(&["info"])).await
    }

    /// Returns what takes space.
    pub async fn disk_usage(&self) -> Result<DiskUsage, ClientError> {
        self.get(&Query::new(&["system", "df"])).await
    }

    /// Checks everything that the daemon keeps, and mends it if `repair` says so. Takes as long as reading all of it.
    pub async fn check_system(&self, repair: bool) -> Result<SystemCheck, ClientError> {
        let mut query = Query::new(&["system", "check"]);
        if repair {
            query = query.with_text("repair", "1");
        }
        let body = self.call(Method::POST, &query).await?;
        crate::transport::decode(&body, query.as_str())
    }

    /// Returns events as they happen.
    pub async fn events(&self, options: &EventsOptions) -> Result<JsonStream<Event>, ClientError> {
        let query = Query::new(&["events"])
            .with_text("since", &options.since)
            .with_text("until", &options.until)
            .with_filters(&options.filters);
        let body = self.stream(Method::GET, &query).await?;
        Ok(JsonStream::new(body, query.as_str().to_owned()))
    }
}
