//! `images`, `rmi` and `tag`.

use api_types::image::ImageSummary;
use base::size::{HumanSize, ShortSize};
use client::ListImages;

use crate::command::{FILTER, FORMAT, filters};
use crate::failure::{Failure, describe};
use crate::flag::{Command, Order, Positionals, State, many, switch};
use crate::format::list::{Layout, Row};
use crate::format::text::short_id;
use crate::format::time::{ago, created_at};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry of `images`.
pub(crate) static LIST: Command = Command {
    path: &["image", "ls"],
    aliases: &[&["image", "list"], &["images"]],
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    flags: &[&[
        switch("all", "Also those that are only parents").short('a'),
        switch("digests", "Show digests"),
        FILTER.short('f'),
        FORMAT,
        switch("no-trunc", "Do not cut anything short"),
        switch("quiet", "Show ids only").short('q'),
        switch("tree", "Show platforms as a tree").not_yet("images have one platform"),
    ]],
    positionals: Positionals::AtMost(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(list(arguments, session))),
};

/// The table entry of `rmi`.
pub(crate) static REMOVE: Command = Command {
    path: &["image", "rm"],
    aliases: &[&["image", "remove"], &["rmi"]],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove images",
    flags: &[&[
        switch("force", "Remove it although it is used").short('f'),
        switch("no-prune", "Keep parents without a name"),
        many("platform", "strings", "Remove only that platform").not_yet("images have one platform"),
    ]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(remove(arguments, session))),
};

/// The table entry of `tag`.
pub(crate) static TAG: Command = Command {
    path: &["image", "tag"],
    aliases: &[&["tag"]],
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Give an image another name",
    flags: &[],
    positionals: Positionals::Exactly(2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(tag(arguments, session))),
};

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

async fn list(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let mut filters = filters(arguments);
    if let Some(reference) = arguments.positionals.first() {
        filters.add("reference", reference);
    }
    let options = ListImages {
        all: arguments.switch("all"),
        filters,
    };
    let client = session.connect().await?;
    let images = client.list_images(&options).await?;
    let digests = arguments.switch("digests");
    let truncate = !arguments.switch("no-trunc");
    let by_digest = digests || arguments.text("format").contains(".Digest");
    let mut rows: Vec<Row> = images
        .iter()
        .flat_map(|image| rows(image, truncate, by_digest))
        .collect();
    let quiet = arguments.switch("quiet");
    if quiet {
        // An image with two names has one id.
        let mut seen = std::collections::BTreeSet::new();
        rows.retain(|row| seen.insert(row.field("ID").to_owned()));
    }
    let layout = Layout {
        headings: HEADINGS,
        columns: if digests {
            &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"]
        } else {
            &["Repository", "Tag", "ID", "CreatedSince", "Size"]
        },
        quiet: "ID",
    };
    layout.print(arguments.text("format"), quiet, &rows)?;
    Ok(0)
}

/// Returns one row for each name of an image.
pub(super) fn rows(image: &ImageSummary, truncate: bool, by_digest: bool) -> Vec<Row> {
    let mut names: Vec<(String, String, String)> = Vec::new();
    let tags = image.repo_tags.iter().filter(|tag| *tag != "<none>:<none>");
    for (repository, tag) in tags.map(|name| split_tag(name)) {
        let digests = image
            .repo_digests
            .iter()
            .filter_map(|digest| digest.split_once('@'));
        let digest = digests
            .filter(|(name, _)| *name == repository)
            .map(|(_, digest)| digest)
            .next();
        let digest = if by_digest {
            digest.unwrap_or("<none>")
        } else {
            "<none>"
        };
        names.push((repository.to_owned(), tag.to_owned(), digest.to_owned()));
    }
    if names.is_empty() {
        let digests = image
            .repo_digests
            .iter()
            .filter_map(|digest| digest.split_once('@'));
        for (repository, digest) in digests.filter(|(name, _)| *name != "<none>") {
            names.push((repository.to_owned(), "<none>".to_owned(), digest.to_owned()));
        }
    }
    if names.is_empty() {
        names.push(("<none>".to_owned(), "<none>".to_owned(), "<none>".to_owned()));
    }
    let size = |bytes: i64| match u64::try_from(bytes) {
        Ok(bytes) => ShortSize(bytes).to_string(),
        Err(_) => "N/A".to_owned(),
    };
    let exact = |bytes: i64| match u64::try_from(bytes) {
        Ok(bytes) => HumanSize(bytes).to_string(),
        Err(_) => "N/A".to_owned(),
    };
    names
        .into_iter()
        .map(|(repository, tag, digest)| Row {
            fields: vec![
                (
                    "ID",
                    if truncate {
                        short_id(&image.id).to_owned()
                    } else {
                        image.id.clone()
                    },
                ),
                ("Repository", repository),
                ("Tag", tag),
                ("Digest", digest),
                ("CreatedSince", ago(image.created)),
                ("CreatedAt", created_at(image.created)),
                ("Size", size(image.size)),
                (
                    "Containers",
                    if image.containers < 0 {
                        "N/A".to_owned()
                    } else {
                        image.containers.to_string()
                    },
                ),
                ("SharedSize", exact(image.shared_size)),
                (
                    "UniqueSize",
                    if image.shared_size < 0 {
                        "N/A".to_owned()
                    } else {
                        exact(image.size - image.shared_size)
                    },
                ),
                ("VirtualSize", size(image.size)),
            ],
            labels: image.labels.clone().unwrap_or_default(),
        })
        .collect()
}

/// Splits `host:5000/name:tag`.
pub(super) fn split_tag(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "<none>"),
    }
}

async fn remove(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let (force, no_prune) = (arguments.switch("force"), arguments.switch("no-prune"));
    let mut code = 0;
    for name in &arguments.positionals {
        if name.trim().is_empty() {
            output::err_line("invalid image name: value is empty");
            code = 1;
            continue;
        }
        match client.remove_image(name, force, no_prune).await {
            Ok(removed) => {
                for item in removed {
                    if !item.deleted.is_empty() {
                        output::out_line(&format!("Deleted: {}", item.deleted))?;
                    }
                    if !item.untagged.is_empty() {
                        output::out_line(&format!("Untagged: {}", item.untagged))?;
                    }
                }
            }
            Err(error) => {
                output::err_line(&describe(&error));
                // With force, an image that is not there is what was wanted.
                if !(force && error.status() == Some(404)) {
                    code = 1;
                }
            }
        }
    }
    Ok(code)
}

async fn tag(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let [source, target] = arguments.positionals.as_slice() else {
        return Ok(1);
    };
    let (repository, tag) = match split_tag(target) {
        (repository, "<none>") => (repository, ""),
        split => split,
    };
    if repository.contains('@') {
        return Err(Failure::message(
            "refusing to create a tag with a digest reference",
        ));
    }
    let client = session.connect().await?;
    client.tag_image(source, repository, tag).await?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_name() {
        let image = ImageSummary {
            id: "sha256:0123456789abcdef".to_owned(),
            repo_tags: vec!["a:1".to_owned(), "h:5000/b:2".to_owned()],
            repo_digests: vec!["a@sha256:ff".to_owned()],
            size: 4_270_000,
            shared_size: -1,
            containers: -1,
            ..ImageSummary::default()
        };
        let rows = rows(&image, true, true);
        let names: Vec<_> = rows
            .iter()
            .map(|row| (row.field("Repository"), row.field("Tag"), row.field("Digest")))
            .collect();
        assert_eq!(names, [("a", "1", "sha256:ff"), ("h:5000/b", "2", "<none>")]);
        assert_eq!(rows[0].field("ID"), "0123456789ab");
        assert_eq!(rows[0].field("Size"), "4.27MB");
        assert_eq!(split_tag("h:5000/b"), ("h:5000/b", "<none>"));
    }

    #[test]
    fn an_image_without_a_name() {
        let image = ImageSummary {
            id: "sha256:01".to_owned(),
            ..ImageSummary::default()
        };
        let rows = rows(&image, false, false);
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].field("Repository"), rows[0].field("ID")),
            ("<none>", "sha256:01")
        );
    }
}
