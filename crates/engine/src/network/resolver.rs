//! The engine's side of netd: the process that answers for names, keeps ports of the host from others, and outlives this
//! daemon. It is started when something of it is needed first, and found again by the next daemon.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};

use base::error::chain;
use netd_api::client::{CallError, Client, ContainerProcess};
use netd_api::message::{self, Everything, Held, Holder, Proxy, Request, Reservation, Reserved};
use netd_api::start;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::endpoint::{Endpoint, Publication};
use super::error::NetworkError;
use super::kernel::publishing;
use super::names;
use crate::Engine;
use crate::config::Protocol;
use crate::container::{Container, View};

/// The connection, while there is one.
#[derive(Debug, Default)]
pub(crate) struct Netd {
    client: Mutex<Option<Arc<Client>>>,
    /// What is to be taken back, in order; made with the first.
    leaving: OnceLock<mpsc::UnboundedSender<Leaving>>,
}

/// What the task that takes back is asked.
#[derive(Debug)]
enum Leaving {
    /// Take back what netd was told of a container.
    Container(String, Vec<Endpoint>),
    /// Say when everything before is done.
    Done(oneshot::Sender<()>),
}

/// Returns the socket at which shims reach netd.
pub(crate) fn socket(engine: &Engine) -> PathBuf {
    engine.config.exec_root.join(start::SOCKET)
}

/// Tells netd what a container that is about to start needs of it: its names, and its ports of the host. A container that
/// needs neither costs nothing.
pub(crate) async fn enter(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), NetworkError> {
    let view = container.view();
    if !view.is_answered && view.publications.is_empty() {
        return Ok(());
    }
    let name = view
        .endpoints
        .first()
        .map(|endpoint| endpoint.network_name.clone())
        .unwrap_or_default();
    let failed = |error: CallError| NetworkError::step("tell netd about a container on", &name, error);
    settled(engine).await;
    let client = client(engine).await?;
    // One packet: each change of processes is a tenth of a millisecond of somebody's start.
    let mut steps = Vec::new();
    if view.is_answered {
        let known = names::container(engine, container, &view.endpoints);
        steps.push(Request::SetContainer(known));
    }
    steps.extend(naming(&view.endpoints));
    let (reservations, proxies) = ports(container, &view.endpoints, &view.publications);
    if !reservations.is_empty() {
        steps.push(Request::Reserve {
            container: container.id.to_string(),
            reservations,
        });
    }
    steps.extend(proxies.into_iter().map(Request::Proxy));
    client.steps(steps).await.map_err(|error| match error {
        CallError::Held { held } => port_error(engine, container, &view.endpoints, *held),
        error => failed(error),
    })
}

/// Tells a netd that is there of a new network; one that is started later is told of all.
pub(crate) async fn network_made(engine: &Engine, id: &str) {
    let Some(client) = engine.netd.client.lock().await.clone() else {
        return;
    };
    let network = names::network(&engine.networks.table(), id);
    if let Some(network) = network
        && let Err(error) = client.set_network(network).await
    {
        tracing::warn!(network = id, error = %chain(&error), "netd does not know a network");
    }
}

/// Tells a netd that is there that a network is gone.
pub(crate) async fn network_gone(engine: &Engine, id: &str) {
    let Some(client) = engine.netd.client.lock().await.clone() else {
        return;
    };
    if let Err(error) = client.remove_network(id).await {
        tracing::warn!(network = id, error = %chain(&error), "netd still knows a network that is gone");
    }
}

/// Takes back what netd was told of a container.
pub(crate) fn leave(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    endpoints: Vec<Endpoint>,
    publishes: bool,
) {
    if !publishes && !container.view().is_answered {
        return;
    }
    let queue = engine.netd.leaving.get_or_init(|| {
        let (sender, receiver) = mpsc::unbounded_channel();
        drop(tokio::spawn(take_back(Arc::downgrade(engine), receiver)));
        sender
    });
    // The task ends with the engine only.
    drop(queue.send(Leaving::Container(container.id.to_string(), endpoints)));
}

/// Takes back, one after the other: nobody waits for it but who takes the same again.
async fn take_back(engine: Weak<Engine>, mut queue: mpsc::UnboundedReceiver<Leaving>) {
    while let Some(leaving) = queue.recv().await {
        let (id, endpoints) = match leaving {
            Leaving::Container(id, endpoints) => (id, endpoints),
            Leaving::Done(reply) => {
                reply.send(()).ok();
                continue;
            }
        };
        let Some(engine) = engine.upgrade() else { return };
        let Some(client) = engine.netd.client.lock().await.clone() else {
            continue;
        };
        if let Err(error) = forget(&client, &id, &endpoints).await {
            tracing::warn!(container = id, error = %chain(&error), "netd still knows a container that has ended");
        }
    }
}

/// Waits until what containers have left is theirs no more: the same names and ports may be taken again.
async fn settled(engine: &Engine) {
    let (sender, receiver) = oneshot::channel();
    if let Some(queue) = engine.netd.leaving.get()
        && queue.send(Leaving::Done(sender)).is_ok()
    {
        drop(receiver.await);
    }
}

/// Tells netd that a running container is on other networks now; `gone` are those that it has left.
async fn change(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    gone: &[Endpoint],
) -> Result<(), NetworkError> {
    let view = container.view();
    let failed = |error: CallError| NetworkError::step("tell netd about", "a container", error);
    if gone.is_empty() && !view.is_answered {
        return Ok(());
    }
    let client = client(engine).await?;
    let mut steps = unnaming(gone);
    if view.is_answered || !view.publications.is_empty() {
        steps.extend(naming(&view.endpoints));
        steps.push(Request::SetContainer(names::container(
            engine,
            container,
            &view.endpoints,
        )));
    } else {
        // Nothing of netd is needed any more; whoever asks anew gets new sockets.
        let container = container.id.to_string();
        steps.push(Request::RemoveContainer { container });
    }
    client.steps(steps).await.map_err(failed)
}

/// Takes the names of endpoints away.
pub(crate) async fn unname(engine: &Engine, endpoints: &[Endpoint]) {
    let Some(client) = engine.netd.client.lock().await.clone() else {
        return;
    };
    // A netd that is gone has no names.
    drop(client.steps(unnaming(endpoints)).await);
}

/// Follows a change of a running container's networks: its names, and its files that tell where it is. `before` is where it
/// was. What fails is told to the log: the container is where it was asked to be.
pub(crate) async fn follow(engine: &Arc<Engine>, container: &Arc<Container>, before: &View) {
    let view = container.view();
    if !view.status.is_running() {
        return;
    }
    let warn = |error: &(dyn std::error::Error + 'static)| {
        tracing::warn!(container = %container.id, error = %chain(error), "a container's names are not those of its networks");
    };
    let is_there = |endpoint: &&Endpoint| view.endpoints.iter().any(|now| now.id == endpoint.id);
    let gone: Vec<Endpoint> = before
        .endpoints
        .iter()
        .filter(|endpoint| !is_there(endpoint))
        .cloned()
        .collect();
    if let Err(error) = change(engine, container, &gone).await {
        return warn(&error);
    }
    if !before.is_answered && view.is_answered {
        match client(engine).await {
            Ok(client) => attach(&client, container).await,
            Err(error) => warn(&error),
        }
    }
    if let Err(error) = crate::container::write_files(engine, container) {
        warn(&error);
    }
}

/// Goes on with the netd of the last daemon, or with a new one, if containers that run need it.
pub(crate) async fn go_on(engine: &Arc<Engine>) {
    let needed = needing(engine).into_iter().next().is_some();
    let there = socket(engine).exists();
    if !needed && !there {
        return;
    }
    let found = if needed {
        client(engine).await.map(drop)
    } else {
        dismiss(engine).await
    };
    if let Err(error) = found {
        tracing::error!(error = %chain(&error), "netd cannot be reached: containers have no names");
    }
}

/// Ends netd if no container needs it; it would end by itself, but later.
pub(crate) async fn rest(engine: &Engine) {
    settled(engine).await;
    if needing(engine).is_empty()
        && let Some(client) = engine.netd.client.lock().await.take()
    {
        drop(client.quit().await);
        drop(tokio::time::timeout(std::time::Duration::from_secs(2), client.closed()).await);
    }
}

/// A netd that nobody needs any more, from a daemon that was killed.
async fn dismiss(engine: &Arc<Engine>) -> Result<(), NetworkError> {
    if let Ok((client, _version)) = Client::connect(&socket(engine)).await {
        client
            .quit()
            .await
            .map_err(|error| NetworkError::step("end the netd of", "no network", error))?;
    }
    Ok(())
}

/// Returns the containers that run and need netd.
fn needing(engine: &Engine) -> Vec<Arc<Container>> {
    let all = engine.registry.all().into_iter();
    all.filter(|container| {
        let view = container.view();
        view.status.is_running() && (!view.publications.is_empty() || view.is_answered)
    })
    .collect()
}

async fn client(engine: &Arc<Engine>) -> Result<Arc<Client>, NetworkError> {
    let mut slot = engine.netd.client.lock().await;
    if let Some(client) = &*slot {
        return Ok(Arc::clone(client));
    }
    let failed = |error| NetworkError::step("start netd for", "containers", error);
    let options = start::Options {
        executable: engine.config.shim_executable.clone(),
        socket: socket(engine),
        resolv_conf: PathBuf::from("/etc/resolv.conf"),
    };
    let client = Arc::new(Client::start_or_connect(&options).await.map_err(failed)?);
    let held = client
        .replace(everything(engine))
        .await
        .map_err(|error| NetworkError::step("tell netd about", "containers", error))?;
    for held in held {
        tracing::warn!(%held, "a port of a container that runs is another's now");
    }
    let has = client
        .state()
        .await
        .map(|state| state.sockets)
        .unwrap_or_default();
    for container in needing(engine) {
        if !has.iter().any(|known| known == container.id.as_str()) {
            attach(&client, &container).await;
        }
    }
    *slot = Some(Arc::clone(&client));
    drop(tokio::spawn(watch(Arc::downgrade(engine), Arc::clone(&client))));
    Ok(client)
}

/// Starts netd again when it ends without having been told to. A boxed future: the new one is watched as well.
fn watch(engine: Weak<Engine>, client: Arc<Client>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        client.closed().await;
        let Some(engine) = engine.upgrade() else { return };
        {
            let mut slot = engine.netd.client.lock().await;
            if !slot.as_ref().is_some_and(|present| Arc::ptr_eq(present, &client)) {
                return;
            }
            *slot = None;
        }
        tracing::warn!("netd has ended and is started again");
        go_on(&engine).await;
    })
}

/// Gives netd the sockets of a container that runs; without them it has no names, but goes on.
async fn attach(client: &Client, container: &Container) {
    let view = container.view();
    if view.endpoints.is_empty() || view.pid == 0 {
        return;
    }
    let attached = match ContainerProcess::open(view.pid) {
        Ok(process) => match client.attach(container.id.as_str(), process).await {
            // They are netd's since an earlier stay on a network with names.
            Err(error) if error.is_in_use() && has_sockets(client, container).await => Ok(()),
            attached => attached.map_err(|error| chain(&error).to_string()),
        },
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = attached {
        tracing::warn!(container = %container.id, error, "a container's questions for names are not answered");
    }
}

async fn has_sockets(client: &Client, container: &Container) -> bool {
    let state = client.state().await.unwrap_or_default();
    state.sockets.iter().any(|known| known == container.id.as_str())
}

/// Returns all that netd is to know.
fn everything(engine: &Engine) -> Everything {
    let mut all = Everything::default();
    {
        let table = engine.networks.table();
        let ids: Vec<String> = table
            .all()
            .filter(|network| !network.record.is_default())
            .map(|network| network.record.id.clone())
            .collect();
        all.networks = ids.iter().filter_map(|id| names::network(&table, id)).collect();
    }
    for container in needing(engine) {
        let view = container.view();
        all.containers
            .push(names::container(engine, &container, &view.endpoints));
        let (reservations, proxies) = ports(&container, &view.endpoints, &view.publications);
        all.reservations.push(Reserved {
            container: container.id.to_string(),
            reservations,
        });
        all.proxies.extend(proxies);
    }
    all
}

/// Returns what netd listens on for containers.
pub(crate) fn proxies(engine: &Engine) -> Vec<Proxy> {
    let mut all = Vec::new();
    for container in needing(engine) {
        let view = container.view();
        all.extend(ports(&container, &view.endpoints, &view.publications).1);
    }
    all
}

async fn forget(client: &Client, id: &str, endpoints: &[Endpoint]) -> Result<(), CallError> {
    let mut steps = unnaming(endpoints);
    let container = id.to_owned();
    steps.push(Request::RemoveContainer { container });
    client.steps(steps).await
}

fn naming(endpoints: &[Endpoint]) -> Vec<Request> {
    let changes = endpoints.iter().flat_map(names::changes);
    changes.map(Request::AddName).collect()
}

fn unnaming(endpoints: &[Endpoint]) -> Vec<Request> {
    let changes = endpoints.iter().flat_map(names::changes);
    changes.map(Request::RemoveName).collect()
}

/// Returns what is reserved, and what netd passes on itself: IPv6 to a container that has none.
fn ports(
    container: &Container,
    endpoints: &[Endpoint],
    publications: &[Publication],
) -> (Vec<Reservation>, Vec<Proxy>) {
    let (mut reservations, mut proxies) = (Vec::new(), Vec::new());
    let endpoint = publishing(endpoints);
    for one in publications {
        let protocol = match one.protocol {
            Protocol::Tcp => message::Protocol::Tcp,
            Protocol::Udp => message::Protocol::Udp,
            Protocol::Sctp => message::Protocol::Sctp,
        };
        let to = endpoint
            .and_then(|endpoint| endpoint.ipv4)
            .map(|net| IpAddr::V4(net.addr()));
        let v6 = endpoint
            .and_then(|endpoint| endpoint.ipv6)
            .map(|net| IpAddr::V6(net.addr()));
        // What is sent to ::1 never leaves that interface, so the kernel cannot lead it to a container.
        let is_local = matches!(
            one.host_ip,
            IpAddr::V6(Ipv6Addr::UNSPECIFIED | Ipv6Addr::LOCALHOST)
        ) && usize::from(one.count) <= MOST_PROXIES;
        let to = match v6 {
            _ if one.host_ip.is_ipv4() => None,
            None => to,
            Some(v6) => is_local.then_some(v6),
        };
        if let Some(to) = to {
            proxies.extend(one.pairs().map(|(port, host)| Proxy {
                container: container.id.to_string(),
                listen: SocketAddr::new(one.host_ip, host),
                to: SocketAddr::new(to, port),
                protocol,
            }));
            continue;
        }
        reservations.push(Reservation {
            address: one.host_ip,
            protocol,
            first: one.host_port,
            last: one.host_port.saturating_add(one.count - 1),
        });
    }
    (reservations, proxies)
}

/// The most ports of a range for which netd listens itself; beyond it IPv6 goes without.
pub(crate) const MOST_PROXIES: usize = 256;

/// docker's text for a port that something else has.
fn port_error(engine: &Engine, container: &Container, endpoints: &[Endpoint], held: Held) -> NetworkError {
    let Held {
        address,
        protocol,
        port,
        holder,
        ..
    } = held;
    let (id, inside) = match publishing(endpoints) {
        Some(endpoint) => (
            endpoint.id.clone(),
            endpoint
                .ipv4
                .map(|net| net.addr().to_string())
                .unwrap_or_default(),
        ),
        None => (String::new(), String::new()),
    };
    let by = match holder {
        Holder::Process { pid, name } => format!(" (held by process {pid}, {name})"),
        Holder::Container { id } => {
            let name = engine.registry.get(&id).map(|holder| holder.view().name.clone());
            format!(" (held by container {})", name.unwrap_or(id))
        }
        Holder::Refused { reason } => format!(" ({reason})"),
        Holder::Unknown => String::new(),
    };
    let target = container.view().publications.iter().find_map(|one| {
        one.pairs()
            .find(|(_, host)| *host == port)
            .map(|(inside, _)| inside)
    });
    let at = SocketAddr::new(address, port);
    let target = target
        .map(|target| format!(":{inside}:{target}"))
        .unwrap_or_default();
    NetworkError::Port {
        text: format!(
            "driver failed programming external connectivity on endpoint {} ({id}): failed to bind host port for {at}{target}/{protocol}: address already in use{by}",
            container.view().name
        ),
    }
}

/// Returns the addresses of the machine at which a port is reached that names none: IPv6 too, if the machine has it.
pub(crate) fn everywhere(has_v4: bool, has_v6: bool, count: usize) -> Vec<IpAddr> {
    let machine_has_v6 = std::path::Path::new("/proc/net/if_inet6").exists();
    let v6 = has_v6 || (machine_has_v6 && count <= MOST_PROXIES);
    let v4 = has_v4.then_some(std::net::Ipv4Addr::UNSPECIFIED.into());
    v4.into_iter()
        .chain(v6.then_some(Ipv6Addr::UNSPECIFIED.into()))
        .collect()
}
