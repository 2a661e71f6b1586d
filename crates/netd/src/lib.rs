//! The resolver, the reserved ports and the proxy of one daemon, as one small process.
