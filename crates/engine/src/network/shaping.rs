//! How much containers receive and send, while they run.

use std::sync::Arc;

use base::error::chain;
use network::shape;

use super::ask::rates;
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::kernel::Kernel;
use crate::Engine;
use crate::container::View;

/// What rates and budgets need.
pub(crate) const NEEDS_BRIDGE: &str = "limits of what a container receives and sends (--net-rate-in, --net-rate-out, --net-budget-in, --net-budget-out) need a network with a bridge";

/// Gives the cables of a container that runs the rates that it is asked to have now.
pub(crate) fn apply(engine: &Arc<Engine>, view: &View) -> Result<(), NetworkError> {
    let wanted = rates(&view.host);
    let mut kernel = engine.networks.kernel();
    for endpoint in view.endpoints.iter() {
        let Some(port) = endpoint.port() else {
            return Err(no_bridge(endpoint));
        };
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| NetworkError::Step {
            doing: "limit what passes on",
            name: endpoint.network_name.clone(),
            source: error,
        };
        let socket = kernel.route().map_err(|error| failed(Box::new(error)))?;
        // Without rates too: the port is here, and what leads away from it must go.
        shape::limit(socket, port, wanted).map_err(|error| failed(Box::new(error)))?;
    }
    Ok(())
}

/// Returns the error for rates and budgets on a network whose containers have no cable.
pub(crate) fn no_bridge(endpoint: &Endpoint) -> NetworkError {
    NetworkError::Unsupported {
        text: format!("{}: {} has none", NEEDS_BRIDGE, endpoint.network_name),
    }
}

/// Removes what was made beside the ports of a container that has ended.
pub(crate) fn release(kernel: &mut Kernel, ports: &[String]) {
    for port in ports {
        let released = match kernel.route() {
            Ok(socket) => shape::release(socket, port).map_err(|error| chain(&error).to_string()),
            Err(error) => Err(chain(&error).to_string()),
        };
        if let Err(error) = released {
            tracing::warn!(port, error, "what limited a container stays");
        }
    }
}
