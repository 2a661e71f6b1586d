//! What the packet filter knows of a network's further bridges.

use netlink::Message;
use netlink::nft::{self, Element, ElementData, Table};

use super::Firewall;
use super::layout::{CABLES, EXTENSIONS};

/// What the packet filter knows of one more bridge of a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtensionFacts {
    /// Its name.
    pub extension: String,
    /// The cable's end at the bridge that has the gateways.
    pub upper: String,
}

impl Firewall {
    /// Lets the packet filter know an extension; one that it knows stays as it is.
    pub fn add_extension(&self, extension: &ExtensionFacts) -> Vec<Message> {
        let elements = self
            .parts(extension)
            .into_iter()
            .flat_map(|(table, set, element)| nft::add_elements(table, set, &[element]));
        self.extension_chains().into_iter().chain(elements).collect()
    }

    /// Lets it forget an extension.
    pub fn remove_extension(&self, extension: &ExtensionFacts) -> Vec<Message> {
        self.parts(extension)
            .into_iter()
            .flat_map(|(table, set, element)| nft::remove_elements(table, set, &[element]))
            .collect()
    }

    fn parts(&self, extension: &ExtensionFacts) -> [(Table<'_>, &'static str, Element); 2] {
        let element = |key| Element {
            key,
            last: None,
            data: ElementData::None,
        };
        let upper = nft::text_key(&extension.upper);
        [
            (
                self.routed(),
                EXTENSIONS,
                element(vec![nft::text_key(&extension.extension)]),
            ),
            (self.bridged(), CABLES, element(vec![upper.clone(), upper])),
        ]
    }
}
