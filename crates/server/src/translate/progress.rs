//! Docker's progress messages: one JSON document per line.

use api_types::stream::{ErrorDetail, Progress, ProgressDetail};
use base::size::HumanSize;
use bytes::Bytes;

use super::signed;

/// Marks in a full bar.
const BAR: u64 = 50;

/// Returns a message as it is sent.
pub(crate) fn line(message: &Progress) -> Bytes {
    // Texts and numbers always encode.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.extend_from_slice(b"\r\n");
    line.into()
}

/// Returns a message about all.
pub(crate) fn status(status: impl Into<String>) -> Progress {
    Progress {
        status: status.into(),
        ..Progress::default()
    }
}

/// Returns a message about one layer.
pub(crate) fn about(id: &str, text: impl Into<String>) -> Progress {
    Progress {
        id: id.to_owned(),
        progress_detail: Some(ProgressDetail::default()),
        ..status(text)
    }
}

/// Returns a message about one layer with how far it is.
pub(crate) fn progress(id: &str, text: &str, current: u64, total: u64) -> Progress {
    Progress {
        progress: bar(current, total),
        progress_detail: Some(ProgressDetail {
            current: signed(current),
            total: signed(total),
        }),
        ..about(id, text)
    }
}

/// Returns the message that ends a stream early.
pub(crate) fn failure(text: String) -> Progress {
    Progress {
        error_detail: Some(ErrorDetail {
            code: 0,
            message: text.clone(),
        }),
        error: text,
        ..Progress::default()
    }
}

/// Returns `[=====>     ]  1.2MB/3MB`.
fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return format!("{:>8}", HumanSize(current).to_string());
    }
    let marks = u128::from(current.min(total)) * u128::from(BAR) / u128::from(total);
    let marks = usize::try_from(marks).unwrap_or(0);
    let rest = usize::try_from(BAR).unwrap_or(0).saturating_sub(marks);
    format!(
        "[{}>{}] {:>8}/{}",
        "=".repeat(marks),
        " ".repeat(rest),
        HumanSize(current).to_string(),
        HumanSize(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_dockers() {
        assert_eq!(
            &line(&about("5a133f5c0cbf", "Pulling fs layer"))[..],
            b"{\"status\":\"Pulling fs layer\",\"progressDetail\":{},\"id\":\"5a133f5c0cbf\"}\r\n"
        );
        let expected = format!(
            "{{\"status\":\"Downloading\",\"progressDetail\":{{\"current\":512,\"total\":1024}},\"progress\":\"[{}>{}]     512B/1.024kB\",\"id\":\"a\"}}\r\n",
            "=".repeat(25),
            " ".repeat(25)
        );
        assert_eq!(line(&progress("a", "Downloading", 512, 1024)), expected);
        assert_eq!(
            &line(&failure("no".to_owned()))[..],
            b"{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\r\n"
        );
    }
}
