//! What the daemon asks for.

use std::collections::HashSet;

use netd_api::message::{Everything, Held, Proxy, Reply, Request, State, VERSION};

use crate::names::Directory;
use crate::server::Netd;

impl Netd {
    /// Does what is asked and returns the reply.
    pub(crate) fn call(&mut self, request: Request) -> Reply {
        match request {
            Request::Hello => {
                return Reply::Hello {
                    version: VERSION,
                    pid: rustix::process::getpid().as_raw_pid(),
                };
            }
            Request::Replace(everything) => return self.replace(everything),
            Request::SetNetwork(network) => self.networks.set(network),
            Request::RemoveNetwork { network } => self.networks.remove(&network),
            Request::AddName(change) => {
                if !self.networks.add_name(&change) {
                    let reason = format!("no such network: \"{}\"", change.network);
                    return Reply::Failed { reason };
                }
            }
            Request::RemoveName(change) => self.networks.remove_name(&change),
            Request::SetContainer(container) => {
                let id = container.id.clone();
                self.containers.set(&id, Directory::new(container));
            }
            Request::RemoveContainer { container } => self.remove_container(&container),
            Request::Reserve {
                container,
                reservations,
            } => {
                if let Err(held) = self.ports.reserve(&container, &reservations, &self.proxies) {
                    return Reply::Held(held);
                }
            }
            Request::Release { container } => {
                self.proxies.release(&container);
                self.ports.release(&container);
            }
            Request::Proxy(proxy) => {
                if let Err(held) = self.add_proxy(proxy) {
                    return Reply::Held(held);
                }
            }
            Request::Steps(steps) => {
                for step in steps {
                    let reply = match step {
                        // The reader of a packet bounds how deep it goes; nobody needs more than one level.
                        Request::Steps(_) => Reply::Failed {
                            reason: "steps within steps".to_owned(),
                        },
                        step => self.call(step),
                    };
                    if reply != Reply::Done {
                        return reply;
                    }
                }
            }
            Request::State => return Reply::State(self.state()),
            Request::Quit => self.is_ending = true,
        }
        Reply::Done
    }

    fn replace(&mut self, everything: Everything) -> Reply {
        let Everything {
            networks,
            containers,
            reservations,
            proxies,
        } = everything;
        let kept: HashSet<String> = networks.iter().map(|network| network.id.clone()).collect();
        self.networks.retain(|id| kept.contains(id));
        for network in networks {
            self.networks.set(network);
        }
        let kept: HashSet<String> = containers.iter().map(|container| container.id.clone()).collect();
        let known: Vec<String> = self.containers.iter().map(|known| known.id.to_string()).collect();
        for id in known.iter().filter(|id| !kept.contains(*id)) {
            if let Some(key) = self.containers.remove(id) {
                self.forget(key);
            }
        }
        for container in containers {
            let id = container.id.clone();
            self.containers.set(&id, Directory::new(container));
        }
        self.proxies.retain(&proxies);
        self.ports.retain(&reservations);
        let mut refused = Vec::new();
        for reserved in reservations {
            // Each by itself: one that was lost meanwhile must not take the others along.
            for reservation in reserved.reservations {
                let result = self
                    .ports
                    .reserve(&reserved.container, &[reservation], &self.proxies);
                refused.extend(result.err());
            }
        }
        for proxy in proxies {
            refused.extend(self.add_proxy(proxy).err());
        }
        sys::memory::release_free_memory();
        if refused.is_empty() {
            Reply::Done
        } else {
            Reply::Partly { refused }
        }
    }

    fn add_proxy(&mut self, proxy: Proxy) -> Result<(), Held> {
        if self.proxies.has(&proxy) {
            return Ok(());
        }
        let (address, port) = (proxy.listen.ip(), proxy.listen.port());
        let reserved = self.ports.take(&proxy.container, address, proxy.protocol, port);
        let socket = match reserved {
            Some(socket) => socket,
            None => {
                let bound = self
                    .ports
                    .bind(&proxy.container, address, proxy.protocol, port, &self.proxies);
                bound?
            }
        };
        let held = |reason: String| Held {
            container: proxy.container.clone(),
            address,
            protocol: proxy.protocol,
            port,
            holder: netd_api::message::Holder::Refused { reason },
        };
        let result = self.proxies.add(&self.poll, proxy.clone(), socket);
        result.map_err(|error| held(error.to_string()))
    }

    fn remove_container(&mut self, id: &str) {
        if let Some(key) = self.containers.remove(id) {
            self.forget(key);
        }
        self.proxies.release(id);
        self.ports.release(id);
    }

    fn state(&self) -> State {
        let ids = |with_sockets: bool| {
            let known = self.containers.iter();
            let wanted = known.filter(|known| {
                if with_sockets {
                    known.sockets.is_some()
                } else {
                    known.directory.is_some()
                }
            });
            let mut ids: Vec<String> = wanted.map(|known| known.id.to_string()).collect();
            ids.sort();
            ids
        };
        State {
            networks: self.networks.ids(),
            containers: ids(false),
            sockets: ids(true),
            reservations: self.ports.state(),
            proxies: self.proxies.state(),
            forwards: self.forwards.len(),
            proxied: self.proxies.under_way(),
            answered: self.answered,
            forwarded: self.forwards.count,
        }
    }
}
