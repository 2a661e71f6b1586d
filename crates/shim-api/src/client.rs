//! Written by the shim part.
