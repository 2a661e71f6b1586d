//! The container's end: what is set inside its network namespace.

use std::net::IpAddr;

use netlink::route::{Address, Route, Target, add_address, add_route, change_link};
use netlink::{Message, NetlinkError, Socket};
use sys::netlink::Family;

use super::parameter::Parameter;
use super::{EndpointError, Inside, Settings, up};

/// An interface in the container's namespace.
#[derive(Debug)]
pub(super) struct Interface<'a> {
    inside: Socket,
    settings: &'a Settings,
}

impl<'a> Interface<'a> {
    /// Sets the parameters and opens a socket, both of which can be done only in the namespace itself.
    pub(super) fn enter(inside: &Inside<'a>) -> Result<Self, EndpointError> {
        let settings = inside.settings;
        let inside = sys::namespace::visit_network(inside.namespace, || {
            inside.parameters.iter().try_for_each(Parameter::set)?;
            Socket::open(Family::Route).map_err(|source| failed(settings, source))
        });
        let inside = inside.map_err(EndpointError::Namespace)??;
        Ok(Self { inside, settings })
    }

    /// Returns its index, if it is there.
    pub(super) fn index(&mut self) -> Result<Option<u32>, EndpointError> {
        match self.inside.link(Target::Name(&self.settings.interface)) {
            Ok(link) => Ok(Some(link.index)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(failed(self.settings, error)),
        }
    }

    /// Gives a new interface its addresses and routes.
    pub(super) fn set_up(&mut self) -> Result<(), EndpointError> {
        self.messages()
            .and_then(|messages| self.inside.request(&messages))
            .map_err(|source| failed(self.settings, source))
    }

    /// Gives an interface the addresses and routes that it does not have.
    pub(super) fn complete(&mut self) -> Result<(), EndpointError> {
        let messages = self.messages().map_err(|source| failed(self.settings, source))?;
        for message in messages {
            match self.inside.request(&[message]) {
                Err(error) if !error.is_present() => return Err(failed(self.settings, error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn messages(&mut self) -> Result<Vec<Message>, NetlinkError> {
        let settings = self.settings;
        let link = self.inside.link(Target::Name(&settings.interface))?.index;
        let addresses = settings.addresses.iter().map(|&(address, prefix)| {
            add_address(&Address {
                link,
                address,
                prefix,
            })
        });
        let mut messages: Vec<_> = addresses.collect();
        messages.push(change_link(Target::Index(link), &up()));
        let default = |gateway: &IpAddr| super::Route {
            destination: match gateway {
                IpAddr::V4(_) => ([0; 4].into(), 0),
                IpAddr::V6(_) => ([0; 16].into(), 0),
            },
            gateway: Some(*gateway),
        };
        let gateways = settings.gateways.iter().map(default);
        // A gateway may be reached by a route of the list.
        let routes = settings.routes.iter().copied().chain(gateways);
        messages.extend(routes.map(|route| {
            add_route(&Route {
                destination: route.destination.0,
                prefix: route.destination.1,
                gateway: route.gateway,
                link: Some(link),
                source: None,
                metric: None,
                on_link: route
                    .gateway
                    .is_some_and(|gateway| !is_reached(settings, gateway)),
            })
        }));
        Ok(messages)
    }
}

fn failed(settings: &Settings, source: NetlinkError) -> EndpointError {
    EndpointError::Container {
        interface: settings.interface.clone(),
        source,
    }
}

/// Returns whether an address or a route says that `gateway` is on the link.
fn is_reached(settings: &Settings, gateway: IpAddr) -> bool {
    let direct = settings.routes.iter().filter(|route| route.gateway.is_none());
    let mut networks = settings
        .addresses
        .iter()
        .copied()
        .chain(direct.map(|route| route.destination));
    networks.any(|(address, prefix)| {
        ipnet::IpNet::new(address, prefix).is_ok_and(|network| network.contains(&gateway))
    })
}
