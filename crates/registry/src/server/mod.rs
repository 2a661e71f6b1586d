//! A registry of our own on a content store.
