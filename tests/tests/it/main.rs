//! Berth from outside. The modules stand in the order in which a person meets their subjects.

// What a person does.
mod commit;
mod copy;
mod exec;
mod exit_codes;
mod images;
mod life;
mod logs;
mod network;
mod network_bridges;
mod network_drivers;
mod network_names;
mod pull;
mod push;
mod rootfs;
mod run;
mod stdin;
mod tty;
// What surrounds the program.
mod environment;
mod limits;
mod mounts;
mod restart;
// What must never happen.
mod broken_disk;
mod confinement;
mod faults;
mod full_disk;
mod hostile_clients;
mod hostile_images;
mod integrity;
mod network_reach;
mod network_survival;
mod probe;
mod security;
mod survival;
mod wire;
// Who else talks to us.
mod api;
mod docker_cli;
mod docker_py;
mod network_addresses;
mod network_budgets;
mod network_differential;
mod oci_runtime;
mod on_demand;
mod rust_client;
// Our own registry.
mod registry_access;
mod registry_peers;
mod registry_protocol;
mod registry_push;
mod round_trips;
// The rows of docs/seeds.md that have no better place.
mod namespaces;
mod seeds;
