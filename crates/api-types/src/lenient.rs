//! Decoding as Go's `encoding/json` does it: `null` is the zero value, and a missing field too.

use serde::{Deserialize, Deserializer};

/// Decodes `null` as the default value.
pub(crate) fn value<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Returns whether `value` is what Go's `omitempty` leaves out.
pub(crate) fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Defines structs of the wire: each field may be missing or `null`. Names are PascalCase unless another of serde's
/// cases is named first. Further serde attributes are written as usual.
macro_rules! wire {
    ($(
        $(#[$attribute:meta])*
        pub struct $name:ident $fields:tt
    )*) => {$(
        wire! { "PascalCase"; $(#[$attribute])* pub struct $name $fields }
    )*};
    ($case:literal; $(
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $( $(#[$field_attribute:meta])* pub $field:ident: $type:ty, )*
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = $case)]
        pub struct $name {
            $(
                #[serde(default)]
                #[serde(deserialize_with = "crate::lenient::value")]
                $(#[$field_attribute])*
                pub $field: $type,
            )*
        }
    )*};
}
