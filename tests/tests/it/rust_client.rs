//! bollard, the Rust client of Docker's API.

use anyhow::{Context, Result};
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder, WaitContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{StreamExt, TryStreamExt};
use testkit::Daemon;

#[test]
fn bollard_runs_a_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let socket = daemon.place().socket();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(talk(socket.to_str().context("socket")?))?;
    daemon.finish()
}

async fn talk(socket: &str) -> Result<()> {
    let docker = Docker::connect_with_unix(socket, 30, API_DEFAULT_VERSION)?
        .negotiate_version()
        .await?;
    assert_eq!(docker.ping().await?, "OK");
    let options = CreateContainerOptionsBuilder::new().name("c1").build();
    let body = ContainerCreateBody {
        image: Some("busybox".into()),
        cmd: Some(["sh", "-c", "echo ready; sleep 1000"].map(String::from).to_vec()),
        host_config: Some(HostConfig {
            network_mode: Some("none".into()),
            memory: Some(64 << 20),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(Some(options), body).await?.id;
    docker
        .start_container("c1", None::<StartContainerOptions>)
        .await?;
    let inspect = docker
        .inspect_container("c1", None::<InspectContainerOptions>)
        .await?;
    assert_eq!(inspect.id.as_deref(), Some(id.as_str()));
    assert_eq!(inspect.state.and_then(|state| state.running), Some(true));

    let exec = docker
        .create_exec(
            "c1",
            CreateExecOptions {
                cmd: Some(vec!["sh", "-c", "echo from exec; exit 8"]),
                attach_stdout: Some(true),
                ..CreateExecOptions::default()
            },
        )
        .await?
        .id;
    let StartExecResults::Attached { output, .. } = docker.start_exec(&exec, None).await? else {
        anyhow::bail!("the exec is detached");
    };
    let output: Vec<LogOutput> = output.try_collect().await?;
    let text: String = output.iter().map(ToString::to_string).collect();
    assert_eq!(text, "from exec\n");
    assert_eq!(docker.inspect_exec(&exec).await?.exit_code, Some(8));

    let options = LogsOptionsBuilder::new().stdout(true).follow(true).build();
    let first = docker
        .logs("c1", Some(options))
        .next()
        .await
        .context("no log")??;
    assert_eq!(first.to_string(), "ready\n");

    let options = StopContainerOptionsBuilder::new().t(0).build();
    docker.stop_container("c1", Some(options)).await?;
    let waited = docker
        .wait_container("c1", None::<WaitContainerOptions>)
        .next()
        .await
        .context("no answer")?;
    // bollard reports a code other than 0 as an error of its own.
    let code = match waited {
        Ok(answer) => answer.status_code,
        Err(bollard::errors::Error::DockerContainerWaitError { code, .. }) => code,
        Err(error) => return Err(error.into()),
    };
    assert_eq!(code, 137);
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    docker.remove_container("c1", Some(options)).await?;
    assert!(
        docker
            .inspect_container("c1", None::<InspectContainerOptions>)
            .await
            .is_err()
    );
    Ok(())
}
