//! The task that owns one container's state: requests come in by its queue, events from the shim.
//!
//! It is made with the first request and ends with the container. Everything that changes the state happens here, one
//! thing after the other; what only talks to the shim (signals, streams, execs) does not need it.

use std::sync::Arc;
use std::time::Duration;

use shim_api::client::{Events, ShimConnection};
use shim_api::message::Event;
use tokio::sync::{mpsc, oneshot};

use super::finish;
use super::record::Container;
use super::remove::{RemoveError, RemoveRequest};
use super::start::{self, StartError};
use super::state::{Answer, Ask, decide};
use super::view::{ChangeError, Changed};
use crate::Engine;
use crate::config::EndpointRequest;
use crate::network::{Float, NetworkError, NetworkRecord};

/// A request to an actor, with the place for its answer.
#[derive(Debug)]
pub(crate) enum Command {
    /// Start the container.
    Start(oneshot::Sender<Result<Changed, StartError>>),
    /// Freeze it, or let it go on.
    Freeze(bool, oneshot::Sender<Result<(), ChangeError>>),
    /// Remember that a person stopped it, so that nothing restarts it.
    MarkStopped(oneshot::Sender<()>),
    /// Connect it to a network.
    Connect(
        Box<(Arc<NetworkRecord>, EndpointRequest)>,
        oneshot::Sender<Result<(), NetworkError>>,
    ),
    /// Give it an address of a network, or take it.
    Float(Box<Float>, oneshot::Sender<Result<(), NetworkError>>),
    /// Disconnect it from a network.
    Disconnect(Arc<NetworkRecord>, oneshot::Sender<Result<(), NetworkError>>),
    /// Remove it.
    Remove(RemoveRequest, oneshot::Sender<Result<(), RemoveError>>),
    /// Do nothing, so that nobody else does, until the other end of the second channel is gone.
    Hold(oneshot::Sender<()>, oneshot::Receiver<()>),
    /// An earlier daemon ran it: go on from what is found.
    Adopt(Found, oneshot::Sender<()>),
    /// Change its limits in the cgroup, its record and its policy.
    Update(
        Box<super::update::Change>,
        oneshot::Sender<Result<(), ChangeError>>,
    ),
}

/// What is found of a container that ran when the last daemon ended.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its shim.
    Shim(ShimConnection),
    /// No shim: it was killed, or has written how the container ended.
    Nothing,
    /// Another boot of the machine.
    OtherBoot,
}

/// Returns the container's queue; its actor is made when there is none yet.
pub(crate) fn queue(engine: &Arc<Engine>, container: &Arc<Container>) -> mpsc::UnboundedSender<Command> {
    container
        .queue
        .get_or_init(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let actor = Actor {
                engine: Arc::clone(engine),
                container: Arc::clone(container),
                events: None,
                retry: None,
                failures: 0,
            };
            drop(tokio::spawn(actor.run(receiver)));
            sender
        })
        .clone()
}

/// Asks an actor and waits; `None` when the container was removed meanwhile.
pub(crate) async fn ask<T>(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    queue(engine, container).send(command(sender)).ok()?;
    receiver.await.ok()
}

/// One container's actor.
pub(crate) struct Actor {
    pub(crate) engine: Arc<Engine>,
    pub(crate) container: Arc<Container>,
    /// Events of the shim, while there is one.
    pub(crate) events: Option<Events>,
    /// When the engine itself restarts a container whose shim was killed.
    pub(crate) retry: Option<tokio::time::Instant>,
    /// How often in a row the shim was killed.
    pub(crate) failures: u32,
}

impl Actor {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        loop {
            let retry = self.retry;
            tokio::select! {
                event = next_event(&mut self.events) => self.on_event(event).await,
                command = queue.recv() => match command {
                    Some(command) => {
                        if self.on_command(command).await.is_break() {
                            return;
                        }
                    }
                    None => return,
                },
                () = wait_until(retry) => {
                    self.retry = None;
                    if let Err(error) = start::run(&mut self).await {
                        tracing::warn!(container = %self.container.id, error = %base::error::chain(&error), "a restart failed");
                    }
                }
            }
        }
    }

    async fn on_command(&mut self, command: Command) -> std::ops::ControlFlow<()> {
        // A client that went away does not need its answer.
        match command {
            Command::Start(reply) => drop(reply.send(self.start().await)),
            Command::Freeze(frozen, reply) => drop(reply.send(super::pause::apply(self, frozen))),
            Command::MarkStopped(reply) => {
                finish::mark_stopped(self).await;
                reply.send(()).ok();
            }
            Command::Hold(granted, held) => {
                if granted.send(()).is_ok() {
                    // Nothing is ever sent.
                    drop(held.await);
                }
            }
            Command::Adopt(found, reply) => {
                finish::adopt(self, found).await;
                reply.send(()).ok();
            }
            Command::Connect(plug, reply) => {
                let (network, request) = *plug;
                let before = self.container.view();
                let result = crate::network::plug(self, &network, request);
                crate::network::follow(&self.engine, &self.container, &before).await;
                drop(reply.send(result));
            }
            Command::Float(float, reply) => {
                let result = crate::network::float(self, &float);
                drop(reply.send(result));
            }
            Command::Disconnect(network, reply) => {
                let before = self.container.view();
                let result = crate::network::unplug(self, &network);
                crate::network::follow(&self.engine, &self.container, &before).await;
                drop(reply.send(result));
            }
            Command::Update(change, reply) => drop(reply.send(super::update::apply(self, *change).await)),
            Command::Remove(request, reply) => {
                let result = super::remove::apply(self, request);
                let gone = result.is_ok();
                drop(reply.send(result));
                if gone {
                    return std::ops::ControlFlow::Break(());
                }
            }
        }
        if self.container.view.borrow().gone {
            return std::ops::ControlFlow::Break(());
        }
        std::ops::ControlFlow::Continue(())
    }

    async fn start(&mut self) -> Result<Changed, StartError> {
        let status = self.container.view.borrow().status;
        match decide(status, Ask::Start) {
            Answer::Accept => {
                self.retry = None;
                self.failures = 0;
                start::run(self).await.map(|()| Changed::Yes)
            }
            Answer::Already => Ok(Changed::Already),
            Answer::Refuse(refusal) => Err(StartError::State {
                text: refusal.text(self.container.id.as_str(), Ask::Start),
            }),
        }
    }

    async fn on_event(&mut self, event: Option<Event>) {
        match event {
            Some(event) => finish::on_event(self, event).await,
            None => finish::on_lost_shim(self).await,
        }
        self.engine.touch();
    }
}

async fn next_event(events: &mut Option<Events>) -> Option<Event> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

async fn wait_until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Returns docker's delay before restart number `failures` in a row: 100 ms doubling to a minute.
pub(crate) fn back_off(failures: u32) -> Duration {
    let doubled = Duration::from_millis(100).saturating_mul(1 << failures.min(10));
    doubled.min(Duration::from_secs(60))
}
