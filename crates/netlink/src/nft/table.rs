//! Tables: what one owner has in the packet filter.

use super::{Family, message};
use crate::message::{CREATE, Message};

const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
/// `NFT_MSG_DESTROYTABLE` (Linux 6.3): no error where there is none.
const DESTROYTABLE: u16 = 26;
const NFTA_TABLE_NAME: u16 = 1;

/// The name of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// Which packets it sees.
    pub family: Family,
    /// Its name.
    pub name: &'a str,
}

/// Makes a table, unless it is there.
pub fn add_table(table: Table<'_>) -> Message {
    let mut message = message(
        NEWTABLE,
        CREATE,
        format!("add table \"{}\"", table.name),
        table.family,
    );
    message.text(NFTA_TABLE_NAME, table.name);
    message
}

/// Removes a table with all that is in it. `missing_ok` needs Linux 6.3; before, add the table first.
pub fn remove_table(table: Table<'_>, missing_ok: bool) -> Message {
    let kind = if missing_ok { DESTROYTABLE } else { DELTABLE };
    let mut message = message(kind, 0, format!("remove table \"{}\"", table.name), table.family);
    message.text(NFTA_TABLE_NAME, table.name);
    message
}
