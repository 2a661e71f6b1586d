//! `image copy`: an image from this daemon to another one, without what that one has.

use api_types::image::MissingRequest;
use base::size::HumanSize;
use client::{Client, Endpoint};

use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, switch};
use crate::output;
use crate::parse::Arguments;
use crate::progress;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["image", "copy"],
    aliases: &[],
    usage: "[OPTIONS] IMAGE ssh://[USER@]HOST|unix:///PATH|tcp://127.0.0.1:PORT",
    about: "Copy an image to another daemon, which is sent only what it lacks",
    flags: &[&[switch("quiet", "Show only the image's name").short('q')]],
    positionals: Positionals::Exactly(2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let [image, target] = arguments.positionals.as_slice() else {
        return Ok(1);
    };
    let target = Endpoint::parse(target).map_err(|error| Failure::invalid(error.to_string()))?;
    let source = session.connect().await?;
    let mut target = Client::new(target);
    target.negotiate().await?;
    let quiet = arguments.switch("quiet");
    let content = source.image_blobs(image).await?;
    let request = MissingRequest {
        manifest: content.manifest.clone(),
        blobs: content.blobs.iter().map(|blob| blob.digest.clone()).collect(),
    };
    let archive = match target.missing_blobs(&request).await {
        Ok(missing) => {
            let bytes: u64 = content
                .blobs
                .iter()
                .filter(|blob| missing.contains(&blob.digest))
                .map(|blob| blob.size)
                .sum();
            if !quiet {
                output::err_line(&format!(
                    "Sending {} of {} blobs ({}) to {}",
                    missing.len(),
                    content.blobs.len(),
                    HumanSize(bytes),
                    target.endpoint()
                ));
            }
            // Documents are small, and say which image it is.
            let mut blobs = missing;
            if !blobs.contains(&content.manifest) {
                blobs.push(content.manifest.clone());
            }
            source.save_image_blobs(image, &blobs).await?
        }
        // Not Berth: it is sent everything.
        Err(error) if matches!(error.status(), Some(404 | 405)) => {
            if !quiet {
                output::err_line(&format!(
                    "Sending all {} blobs to {}, which cannot say what it has",
                    content.blobs.len(),
                    target.endpoint()
                ));
            }
            source.save_images(std::slice::from_ref(image)).await?
        }
        Err(error) => return Err(error.into()),
    };
    let messages = target.load_images(Box::new(archive), true).await?;
    if quiet {
        progress::wait(messages).await?;
        output::out_line(image)?;
    } else {
        progress::show(messages).await?;
    }
    Ok(0)
}
