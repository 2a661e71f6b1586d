//! Plugging the container into its networks, on each start: cables, and the sockets of its name server.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;

use base::error::chain;
use netlink::Socket;
use netlink::route::MacAddress;
use network::endpoint::{self, EndpointError, Route, Settings};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use runtime::{CreateError, Plug, Step};
use shim_api::task::{Attach, Sandbox, SandboxEndpoint};
use sys::netlink::Family;

use crate::resolver;

/// The networks of one container.
#[derive(Debug)]
pub(crate) struct Networks<'a> {
    container: &'a str,
    sandbox: &'a Sandbox,
    /// Whether the namespace is one that an earlier run has left.
    is_kept: bool,
    /// The cables that were made.
    made: RefCell<Vec<String>>,
}

impl<'a> Networks<'a> {
    /// `spec` has the path of a namespace that was kept.
    pub(crate) fn new(container: &'a str, sandbox: &'a Sandbox, spec: &Spec) -> Self {
        let namespaces = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.namespaces().as_ref());
        let is_kept = namespaces
            .into_iter()
            .flatten()
            .any(|namespace| namespace.typ() == LinuxNamespaceType::Network && namespace.path().is_some());
        Self {
            container,
            sandbox,
            is_kept,
            made: RefCell::default(),
        }
    }

    /// Removes the cables of a start that failed, so that their addresses are free when this returns. The namespace would
    /// take them along too, but at a time of its own.
    pub(crate) fn unplug(&self) {
        let made = self.made.take();
        if made.is_empty() {
            return;
        }
        if let Ok(mut host) = Socket::open(Family::Route) {
            for port in made {
                // The failure of the start is the one to report.
                endpoint::leave(&mut host, &port).ok();
            }
        }
    }

    fn join(
        &self,
        host: &mut Socket,
        namespace: BorrowedFd<'_>,
        endpoint: &SandboxEndpoint,
    ) -> Result<(), EndpointError> {
        let settings = settings(endpoint);
        let is_new = if self.is_kept {
            endpoint::restore(host, namespace, &settings)?
        } else {
            endpoint::join(host, namespace, &settings)?;
            true
        };
        let Attach::Bridge { port, .. } = &endpoint.attach;
        if is_new {
            self.made.borrow_mut().push(port.clone());
        }
        Ok(())
    }
}

impl Plug for Networks<'_> {
    fn plug(&self, namespace: BorrowedFd<'_>) -> Result<(), CreateError> {
        if !self.sandbox.endpoints.is_empty() {
            let mut host = Socket::open(Family::Route)
                .map_err(|error| failed(error.errno().map_or(0, rustix::io::Errno::raw_os_error), &error))?;
            for endpoint in &self.sandbox.endpoints {
                self.join(&mut host, namespace, endpoint).map_err(|error| {
                    failed(error.errno().map_or(0, rustix::io::Errno::raw_os_error), &error)
                })?;
            }
        }
        let Some(server) = &self.sandbox.resolver else {
            return Ok(());
        };
        resolver::hand_over(server, self.container, namespace, self.is_kept)
            .map_err(|error| failed(error.errno(), &error))
    }
}

fn failed(errno: i32, error: &dyn std::error::Error) -> CreateError {
    CreateError::new(Step::Network, errno, chain(error).to_string())
}

fn settings(endpoint: &SandboxEndpoint) -> Settings {
    Settings {
        attach: match &endpoint.attach {
            Attach::Bridge {
                bridge,
                port,
                talking,
            } => endpoint::Attach::Bridge {
                bridge: bridge.clone(),
                port: port.clone(),
                talking: *talking,
            },
        },
        interface: endpoint.interface.clone(),
        mac: endpoint.mac.map(MacAddress),
        mtu: endpoint.mtu,
        addresses: endpoint.addresses.clone(),
        gateways: endpoint.gateways.clone(),
        routes: endpoint
            .routes
            .iter()
            .map(|route| Route {
                destination: route.destination,
                gateway: route.gateway,
            })
            .collect(),
        sysctls: endpoint.sysctls.clone(),
    }
}
