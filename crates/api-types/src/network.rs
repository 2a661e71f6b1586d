//! Networks, and what containers show of them.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;

use serde_json::Value;

wire! {
    /// Where a port of a container is reached on the host.
    pub struct PortBinding {
        pub host_ip: String,
        pub host_port: String,
    }

    /// `NetworkingConfig` of a create request.
    pub struct NetworkingConfig {
        pub endpoints_config: BTreeMap<String, Option<EndpointSettings>>,
    }

    /// A container's connection to one network.
    pub struct EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        pub ipam_config: Option<EndpointIpamConfig>,
        pub links: Option<Vec<String>>,
        pub aliases: Option<Vec<String>>,
        pub mac_address: String,
        pub driver_opts: Option<BTreeMap<String, String>>,
        pub gw_priority: i64,
        #[serde(rename = "NetworkID")]
        pub network_id: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "DNSNames")]
        pub dns_names: Option<Vec<String>>,
        /// Berth only: addresses that were moved to the container.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_floating_addresses: Vec<String>,
    }

    /// Addresses asked for.
    pub struct EndpointIpamConfig {
        #[serde(rename = "IPv4Address", skip_serializing_if = "crate::lenient::is_empty")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "crate::lenient::is_empty")]
        pub ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "crate::lenient::is_empty")]
        pub link_local_ips: Vec<String>,
    }

    /// `NetworkSettings` of an inspected container; the flat fields are the default network's, as before API 1.52.
    pub struct NetworkSettings {
        pub bridge: String,
        #[serde(rename = "SandboxID")]
        pub sandbox_id: String,
        pub sandbox_key: String,
        pub ports: BTreeMap<String, Option<Vec<PortBinding>>>,
        pub hairpin_mode: bool,
        #[serde(rename = "LinkLocalIPv6Address")]
        pub link_local_ipv6_address: String,
        #[serde(rename = "LinkLocalIPv6PrefixLen")]
        pub link_local_ipv6_prefix_len: i64,
        #[serde(rename = "SecondaryIPAddresses")]
        pub secondary_ip_addresses: Option<Vec<Value>>,
        #[serde(rename = "SecondaryIPv6Addresses")]
        pub secondary_ipv6_addresses: Option<Vec<Value>>,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        pub mac_address: String,
        pub networks: BTreeMap<String, EndpointSettings>,
    }

    /// One network, as listed and inspected.
    pub struct Network {
        pub name: String,
        pub id: String,
        pub created: String,
        /// `local`, `swarm` or `global`.
        pub scope: String,
        pub driver: String,
        #[serde(rename = "EnableIPv4")]
        pub enable_ipv4: bool,
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: bool,
        #[serde(rename = "IPAM")]
        pub ipam: Ipam,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_from: ConfigReference,
        pub config_only: bool,
        /// Running containers by id; only when one network is inspected.
        pub containers: BTreeMap<String, EndpointResource>,
        pub options: BTreeMap<String, String>,
        pub labels: BTreeMap<String, String>,
        /// Nodes of an overlay network.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub peers: Vec<Value>,
        /// Services of a swarm.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub services: BTreeMap<String, Value>,
    }

    /// How a network gives out addresses.
    pub struct Ipam {
        pub driver: String,
        pub options: Option<BTreeMap<String, String>>,
        pub config: Option<Vec<IpamConfig>>,
    }

    /// One range of addresses; in CIDR notation where a field is a range.
    pub struct IpamConfig {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub subnet: String,
        #[serde(rename = "IPRange", skip_serializing_if = "crate::lenient::is_empty")]
        pub ip_range: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub gateway: String,
        /// Names and addresses that are given to no container.
        #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "crate::lenient::is_empty")]
        pub auxiliary_addresses: BTreeMap<String, String>,
    }

    /// Another network whose configuration is used.
    pub struct ConfigReference {
        pub network: String,
    }

    /// A container as its network shows it.
    pub struct EndpointResource {
        pub name: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub mac_address: String,
        /// With the length of the prefix.
        #[serde(rename = "IPv4Address")]
        pub ipv4_address: String,
        /// With the length of the prefix.
        #[serde(rename = "IPv6Address")]
        pub ipv6_address: String,
    }

    /// The body of `POST /networks/create`.
    pub struct NetworkCreateRequest {
        /// Only from clients before API 1.44; names are always unique.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub check_duplicate: bool,
        pub driver: String,
        pub scope: String,
        /// `None`: the daemon's default.
        #[serde(rename = "EnableIPv4", skip_serializing_if = "crate::lenient::is_empty")]
        pub enable_ipv4: Option<bool>,
        /// `None`: the daemon's default.
        #[serde(rename = "EnableIPv6", skip_serializing_if = "crate::lenient::is_empty")]
        pub enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        pub ipam: Option<Ipam>,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_only: bool,
        pub config_from: Option<ConfigReference>,
        pub options: BTreeMap<String, String>,
        pub labels: BTreeMap<String, String>,
        pub name: String,
    }

    /// The reply to a create.
    pub struct NetworkCreateReply {
        pub id: String,
        pub warning: String,
    }

    /// The body of `POST /networks/{id}/connect`.
    pub struct NetworkConnectRequest {
        pub container: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub endpoint_config: Option<EndpointSettings>,
    }

    /// The body of `POST /networks/{id}/disconnect`.
    pub struct NetworkDisconnectRequest {
        pub container: String,
        /// Also when the container cannot be found.
        pub force: bool,
    }

    /// The reply to `POST /networks/prune`.
    pub struct NetworksPruneReply {
        pub networks_deleted: Option<Vec<String>>,
    }

    /// The body of `POST /berth/networks/addresses/move`, Berth's own.
    pub struct AddressMoveRequest {
        pub address: String,
        /// Empty: the one whose subnet the address is of.
        pub network: String,
        /// Empty: no container has the address any more.
        pub container: String,
    }

    /// The reply to `GET /berth/networks/audit`, Berth's own: what the outside can reach.
    pub struct NetworkAudit {
        pub exposures: Vec<Exposure>,
    }

    /// A port of this machine that leads to a container, or that a process of the machine listens on.
    pub struct Exposure {
        pub address: String,
        /// One port, or the first and last of a range.
        pub port: String,
        /// `tcp`, `udp` or `sctp`.
        pub protocol: String,
        /// Name of the container; empty: a process of the machine.
        pub container: String,
        /// The rules and sockets that let it be reached.
        pub because: Vec<String>,
        /// The rule of somebody else that stops it; empty: nothing does.
        pub blocked_by: String,
    }
}
