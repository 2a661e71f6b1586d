//! How many bytes a container may receive and send in a time, on all its networks together.
//!
//! ```text
//! bridge NAME-budgets
//!   prerouting  -200  the port's container: sent-ID          postrouting 200  the port's container: received-ID
//!   received-ID, sent-ID: count in the element of "spent" that is the container's; drop what is beyond
//!   spent: ID-in, ID-out: bytes and what was used of them, for as long as the time lasts
//! ```
//!
//! The kernel counts and the kernel ends the time, by itself: the element of a time is made by the first packet after the
//! one before has ended. So neither a daemon nor a shim is needed, and a cable that comes again with its port's name is
//! counted as before. The table is made for the first container that has a budget: others cost nothing.

use std::time::Duration;

use base::error::{Kind, Kinded};
use netlink::nft::{
    self, BaseChain, Chain, ChainType, Element, ElementData, Expression, Family, Hook, Meta, Policy, Quota,
    QuotaElement, Register, Rule, Set, SetData, Table, Verdict, key,
};
use netlink::{Message, NetlinkError, Socket};
use rustix::io::Errno;

const SPENT: &str = "spent";
/// Most containers with a budget, twice: the set is made for so many.
const SIZE: u32 = 1 << 17;
/// How often a change is begun again because a time ended meanwhile.
const TRIES: usize = 4;
const AT: Register = Register::FIRST;

/// How many bytes may pass in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many.
    pub bytes: u64,
    /// The time, which begins with the first of them; one that never ends if `None`.
    pub period: Option<Duration>,
}

/// What is gone of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// How many bytes, at most those of the budget.
    pub used: u64,
    /// What is left of the time, if it ends.
    pub left: Option<Duration>,
}

/// What a container has spent, by what it is known by.
pub type SpentBy = (String, Both<Option<Spent>>);

/// Something of each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both<T> {
    /// What the container receives.
    pub received: T,
    /// What it sends.
    pub sent: T,
}

/// A container with a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What it is known by: up to 12 letters and digits, which are its own.
    pub id: String,
    /// The ports of bridges that it is at.
    pub ports: Vec<String>,
    /// What may pass.
    pub budgets: Both<Option<Budget>>,
    /// What was spent of it, as far as the kernel does not know better: it was told when this machine was started, or by
    /// somebody who emptied the packet filter.
    pub spent: Both<Option<Spent>>,
}

/// Why a budget could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// The kernel refused.
    #[error("change the budgets of containers in table \"{table}\"")]
    Change {
        /// The table.
        table: String,
        /// Why.
        source: NetlinkError,
    },
    /// What is spent could not be read.
    #[error("read what containers have spent in table \"{table}\"")]
    Read {
        /// The table.
        table: String,
        /// Why.
        source: NetlinkError,
    },
}

impl Kinded for BudgetError {
    fn kind(&self) -> Kind {
        match self {
            Self::Change { source, .. } | Self::Read { source, .. } => source.kind(),
        }
    }
}

/// The table of budgets. Every socket is one for the packet filter, in the namespace of the bridges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
    table: String,
}

impl Budgets {
    /// Returns the budgets beside the packet filter whose tables are called `firewall`.
    pub fn new(firewall: &str) -> Self {
        Self {
            table: format!("{firewall}-budgets"),
        }
    }

    /// Returns the name of the table.
    pub fn table_name(&self) -> &str {
        &self.table
    }

    /// Gives a container its budgets, whatever it had; what is spent of them stays spent, and a time that has begun goes on.
    pub fn set(&self, socket: &mut Socket, holder: &Holder) -> Result<(), BudgetError> {
        self.change(socket, |spent| {
            let mut messages = self.layout();
            messages.extend(self.hold(holder, spent));
            messages
        })
    }

    /// Takes ports off a container, which must be given as they were set.
    pub fn remove_ports(
        &self,
        socket: &mut Socket,
        holder: &Holder,
        ports: &[String],
    ) -> Result<(), BudgetError> {
        self.change(socket, |_spent| {
            self.at_ports(&holder.id, ports, nft::remove_elements)
        })
    }

    /// Forgets a container, which must be given as it was set, with what it has spent.
    pub fn remove(&self, socket: &mut Socket, holder: &Holder) -> Result<(), BudgetError> {
        self.change(socket, |spent| {
            let mut messages = self.at_ports(&holder.id, &holder.ports, nft::remove_elements);
            for side in SIDES {
                messages.push(nft::remove_chain(self.chain(&side.chain(&holder.id))));
                messages.extend(self.forget(spent, &side.key(&holder.id)));
            }
            messages
        })
    }

    /// Puts everything in place of whatever the table holds; without containers there is no table. What is counted in the
    /// kernel goes on being counted.
    pub fn replace(&self, socket: &mut Socket, holders: &[Holder]) -> Result<(), BudgetError> {
        if holders.is_empty() {
            let gone = [
                nft::add_table(self.table()),
                nft::remove_table(self.table(), false),
            ];
            return socket.request(&gone).map_err(|source| self.failed(source));
        }
        let listed = socket.chains().map_err(|source| self.failed(source))?;
        let listed: Vec<String> = listed
            .into_iter()
            .filter(|chain| chain.table == self.table && chain.family == Family::Bridge.number())
            .map(|chain| chain.name)
            .collect();
        let is_held = |chain: &str| {
            let id = chain.split_once('-').map_or("", |(_, id)| id);
            SIDES.iter().any(|side| side.hook == chain) || holders.iter().any(|holder| holder.id == id)
        };
        self.change(socket, |spent| {
            let mut messages = self.layout();
            messages.extend(SIDES.map(|side| nft::flush_set(self.table(), side.ports)));
            let gone = listed.iter().filter(|chain| !is_held(chain));
            messages.extend(gone.map(|chain| nft::remove_chain(self.chain(chain))));
            for element in spent {
                let id = element.key.split_once('-').map_or("", |(id, _)| id);
                if !holders.iter().any(|holder| holder.id == id) {
                    messages.extend(self.forget(spent, &element.key));
                }
            }
            messages.extend(holders.iter().flat_map(|holder| self.hold(holder, spent)));
            messages
        })
    }

    /// Returns what containers have spent. One that has not begun a time is not among them.
    pub fn spent(&self, socket: &mut Socket) -> Result<Vec<SpentBy>, BudgetError> {
        let mut all: Vec<SpentBy> = Vec::new();
        for element in self.elements(socket)? {
            let Some((id, side)) = element.key.split_once('-') else {
                continue;
            };
            let at = match all.iter().position(|(own, _)| own == id) {
                Some(at) => at,
                None => {
                    all.push((id.to_owned(), Both::default()));
                    all.len() - 1
                }
            };
            let spent = Some(spent_of(&element));
            match (all.get_mut(at), side) {
                (Some((_, both)), "in") => both.received = spent,
                (Some((_, both)), _) => both.sent = spent,
                (None, _) => {}
            }
        }
        Ok(all)
    }

    /// Changes the table by what `messages` makes of what is spent now. Begins again if a time has ended meanwhile.
    fn change(
        &self,
        socket: &mut Socket,
        messages: impl Fn(&[QuotaElement]) -> Vec<Message>,
    ) -> Result<(), BudgetError> {
        let mut result = Ok(());
        for _ in 0..TRIES {
            let spent = self.elements(socket)?;
            result = socket.request(&messages(&spent));
            match &result {
                Err(error) if error.is_absent() => {}
                _ => break,
            }
        }
        result.map_err(|source| self.failed(source))
    }

    fn elements(&self, socket: &mut Socket) -> Result<Vec<QuotaElement>, BudgetError> {
        match socket.quotas(self.table(), SPENT) {
            Err(error) if error.errno() == Some(Errno::NOENT) => Ok(Vec::new()),
            result => result.map_err(|source| BudgetError::Read {
                table: self.table.clone(),
                source,
            }),
        }
    }

    /// What is always there. What is there already is left or made anew.
    fn layout(&self) -> Vec<Message> {
        let mut messages = vec![
            nft::add_table(self.table()),
            nft::add_quota_set(self.table(), SPENT, SIZE),
        ];
        for side in SIDES {
            messages.push(nft::add_set(&Set {
                table: self.table(),
                name: side.ports,
                key: &[key::LINK_NAME],
                ranges: false,
                data: SetData::Verdict,
            }));
            let chain = self.chain(side.hook);
            let base = BaseChain {
                kind: ChainType::Filter,
                hook: side.place,
                priority: side.priority,
                policy: Policy::Accept,
            };
            let find = [
                Expression::Meta(side.link, AT),
                Expression::LookupVerdict {
                    map: side.ports.to_owned(),
                    key: AT,
                },
            ];
            messages.extend([
                nft::add_chain(chain, Some(&base)),
                nft::flush_chain(chain),
                nft::add_rule(&Rule {
                    chain,
                    expressions: &find,
                    comment: "containers with a budget",
                }),
            ]);
        }
        messages
    }

    fn hold(&self, holder: &Holder, spent: &[QuotaElement]) -> Vec<Message> {
        let mut messages = Vec::new();
        let sides = [
            (holder.budgets.received, holder.spent.received),
            (holder.budgets.sent, holder.spent.sent),
        ];
        for (side, (budget, told)) in SIDES.iter().zip(sides) {
            let (name, key) = (side.chain(&holder.id), side.key(&holder.id));
            let chain = self.chain(&name);
            messages.extend([nft::add_chain(chain, None), nft::flush_chain(chain)]);
            let Some(budget) = budget else {
                messages.extend(self.forget(spent, &key));
                continue;
            };
            let rule = [
                Expression::Load(AT, nft::text_key(&key)),
                Expression::BeyondQuota {
                    set: SPENT.to_owned(),
                    key: AT,
                    bytes: budget.bytes,
                    time: budget.period,
                },
                Expression::Counter,
                Expression::Verdict(Verdict::Drop),
            ];
            messages.push(nft::add_rule(&Rule {
                chain,
                expressions: &rule,
                comment: "beyond the budget",
            }));
            messages.extend(self.carry_over(spent, &key, budget, told));
        }
        messages.extend(self.at_ports(&holder.id, &holder.ports, nft::add_elements));
        messages
    }

    /// Makes what was spent of another budget, or of this one in the packet filter before this, spent of this one.
    fn carry_over(
        &self,
        spent: &[QuotaElement],
        key: &str,
        budget: Budget,
        told: Option<Spent>,
    ) -> Vec<Message> {
        let known = spent.iter().find(|element| element.key == key);
        let (used, time) = match (known, told) {
            (Some(element), _) => {
                let whole = element.time.map(|(whole, _)| whole);
                if element.quota.bytes == budget.bytes && whole == budget.period {
                    return Vec::new();
                }
                let gone = element.time.map(|(whole, left)| whole.saturating_sub(left));
                // Of a time that never ends nobody knows how much of it is gone; another one begins.
                let time = budget
                    .period
                    .map(|whole| (whole, whole.saturating_sub(gone.unwrap_or_default())));
                (element.quota.used, time)
            }
            (None, Some(spent)) => {
                let time = budget
                    .period
                    .map(|whole| (whole, spent.left.unwrap_or(whole).min(whole)));
                (spent.used, time)
            }
            (None, None) => return Vec::new(),
        };
        let mut messages = self.forget(spent, key);
        let is_over = time.is_some_and(|(_, left)| left.is_zero());
        if !is_over {
            let element = QuotaElement {
                key: key.to_owned(),
                quota: Quota {
                    bytes: budget.bytes,
                    used: used.min(budget.bytes),
                },
                time,
            };
            messages.push(nft::add_quota(self.table(), SPENT, &element));
        }
        messages
    }

    fn forget(&self, spent: &[QuotaElement], key: &str) -> Vec<Message> {
        if !spent.iter().any(|element| element.key == key) {
            return Vec::new();
        }
        let element = Element {
            key: vec![nft::text_key(key)],
            last: None,
            data: ElementData::None,
        };
        nft::remove_elements(self.table(), SPENT, &[element])
    }

    fn at_ports(
        &self,
        id: &str,
        ports: &[String],
        doing: impl Fn(Table<'_>, &str, &[Element]) -> Vec<Message>,
    ) -> Vec<Message> {
        SIDES
            .iter()
            .flat_map(|side| {
                let verdict = Verdict::Jump(side.chain(id));
                let elements: Vec<Element> = ports
                    .iter()
                    .map(|port| Element {
                        key: vec![nft::text_key(port)],
                        last: None,
                        data: ElementData::Verdict(verdict.clone()),
                    })
                    .collect();
                doing(self.table(), side.ports, &elements)
            })
            .collect()
    }

    fn table(&self) -> Table<'_> {
        Table {
            family: Family::Bridge,
            name: &self.table,
        }
    }

    fn chain<'a>(&'a self, name: &'a str) -> Chain<'a> {
        Chain {
            table: self.table(),
            name,
        }
    }

    fn failed(&self, source: NetlinkError) -> BudgetError {
        BudgetError::Change {
            table: self.table.clone(),
            source,
        }
    }
}

/// One direction.
#[derive(Clone, Copy, Debug)]
struct Side {
    /// The chain that the kernel begins, and the beginning of the names of containers' chains.
    hook: &'static str,
    word: &'static str,
    /// The end of keys.
    letter: &'static str,
    /// The map of ports.
    ports: &'static str,
    place: Hook<'static>,
    priority: i32,
    link: Meta,
}

/// What is received, then what is sent. What is sent is looked at after it was found to be the container's own.
const SIDES: [Side; 2] = [
    Side {
        hook: "postrouting",
        word: "received",
        letter: "in",
        ports: "receivers",
        place: Hook::Postrouting,
        priority: 200,
        link: Meta::OutputName,
    },
    Side {
        hook: "prerouting",
        word: "sent",
        letter: "out",
        ports: "senders",
        place: Hook::Prerouting,
        priority: -200,
        link: Meta::InputName,
    },
];

impl Side {
    fn chain(&self, id: &str) -> String {
        format!("{}-{id}", self.word)
    }

    fn key(&self, id: &str) -> String {
        format!("{id}-{}", self.letter)
    }
}

fn spent_of(element: &QuotaElement) -> Spent {
    Spent {
        used: element.quota.used.min(element.quota.bytes),
        left: element.time.map(|(_, left)| left),
    }
}
