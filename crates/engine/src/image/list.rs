//! List images.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::clock::Timestamp;

use image::Image;

use super::ImageError;
use crate::Engine;
use crate::system::{check_names, label_fits, switch, until};

/// Which images are wanted.
#[derive(Clone, Debug, Default)]
pub struct ImageListRequest {
    /// Whether images without a name from which others were committed are listed too.
    pub all: bool,
    /// docker's filters `before dangling label reference since until`.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// One image.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// `sha256:…`.
    pub id: String,
    /// The image that it was committed from, or empty.
    pub parent: String,
    /// `name:tag` for each of its names, short as docker prints them.
    pub references: Vec<String>,
    /// `name@sha256:…`.
    pub digests: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Containers that use it.
    pub containers: usize,
}

/// Lists images, newest first.
pub async fn list(engine: &Arc<Engine>, request: ImageListRequest) -> Result<Vec<ImageSummary>, ImageError> {
    let filters = &request.filters;
    check_names(
        filters,
        &["before", "dangling", "label", "reference", "since", "until"],
    )?;
    let dangling = switch(filters, "dangling")?;
    let until = until(filters)?;
    let values = |key: &str| filters.get(key).map(Vec::as_slice).unwrap_or_default();
    let created = |key: &str| -> Result<Option<Timestamp>, ImageError> {
        values(key)
            .first()
            .map(|name| Ok(super::find(engine, name)?.created))
            .transpose()
    };
    let (before, since) = (created("before")?, created("since")?);
    let mut summaries = Vec::new();
    for image in engine.images.list() {
        let labels = &image.config.config.labels;
        let is_nameless = image.tags.is_empty() && image.digests.is_empty();
        let is_between = is_nameless && engine.images.has_children(&image.id);
        let fits = (request.all || !is_between)
            && dangling.is_none_or(|dangling| image.tags.is_empty() == dangling)
            && until.is_none_or(|until| image.created < until)
            && before.is_none_or(|before| image.created < before)
            && since.is_none_or(|since| image.created > since)
            && values("label").iter().all(|label| label_fits(labels, label));
        if !fits {
            continue;
        }
        let mut summary = summarize(engine, &image);
        let patterns = values("reference");
        if !patterns.is_empty() {
            summary
                .references
                .retain(|name| patterns.iter().any(|pattern| reference_fits(name, pattern)));
            if summary.references.is_empty() {
                continue;
            }
        }
        summaries.push(summary);
    }
    Ok(summaries)
}

/// Returns an image's row.
pub(crate) fn summarize(engine: &Engine, image: &Image) -> ImageSummary {
    ImageSummary {
        id: image.id.to_string(),
        parent: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        references: image.repo_tags(),
        digests: image.repo_digests(),
        created: image.created,
        size: image.size,
        labels: image.config.config.labels.clone(),
        containers: super::users(engine, &image.id).len(),
    }
}

/// Returns whether a name fits docker's pattern: with or without its tag, `*` for a part without a slash.
fn reference_fits(name: &str, pattern: &str) -> bool {
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    let last = repository.rsplit('/').next().unwrap_or(repository);
    [name, repository, last]
        .iter()
        .any(|text| glob(text.as_bytes(), pattern.as_bytes()))
}

fn glob(text: &[u8], pattern: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => {
            let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=end).any(|skip| glob(&text[skip..], rest))
        }
        Some((b'?', rest)) => text
            .split_first()
            .is_some_and(|(byte, text)| *byte != b'/' && glob(text, rest)),
        Some((wanted, rest)) => text
            .split_first()
            .is_some_and(|(byte, text)| byte == wanted && glob(text, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_fit_as_in_docker() {
        for (pattern, fits) in [
            ("busybox", true),
            ("busy*", true),
            ("busybox:1", true),
            ("busybox:2", false),
            ("*:1", true),
        ] {
            assert_eq!(reference_fits("busybox:1", pattern), fits, "{pattern}");
        }
        assert!(!reference_fits("a/b:1", "a*:1"));
    }
}
