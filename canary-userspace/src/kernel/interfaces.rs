//! Which interfaces there are, what each is to us, and what changes about them.

mod link;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use anyhow::{Context, Result};
use glob::Pattern;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use rtnetlink::constants::{RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE, RTMGRP_LINK};

pub use self::link::{Link, Role};
use super::netlink::{Netlink, News, Prefix, Way, is_default_route};

/// Which interfaces are pods' and which lead to the network, by name.
#[derive(Clone, Debug)]
pub struct Choice {
    pods: Vec<Pattern>,
    /// Empty: the interfaces of the default routes.
    uplinks: Vec<Pattern>,
}

impl Choice {
    /// Reads globs of `*`, `?` and `[...]`; without one for uplinks these are the interfaces of
    /// the main table's default routes, IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// A glob that cannot be read, named.
    pub fn new(pods: &[String], uplinks: &[String]) -> Result<Self> {
        Ok(Self { pods: patterns(pods)?, uplinks: patterns(uplinks)? })
    }

    /// Whether uplinks are found by the default routes.
    fn follows_routes(&self) -> bool {
        self.uplinks.is_empty()
    }

    /// What an interface is; one that is an uplink is no pod's, whatever the globs.
    fn role(&self, name: &str, index: u32, default_routes: &BTreeSet<u32>) -> Role {
        if default_routes.contains(&index) || self.uplinks.iter().any(|glob| glob.matches(name)) {
            Role::Uplink
        } else if self.pods.iter().any(|glob| glob.matches(name)) {
            Role::Pod
        } else {
            Role::Other
        }
    }
}

fn patterns(globs: &[String]) -> Result<Vec<Pattern>> {
    let patterns = globs.iter().map(|glob| {
        Pattern::new(glob).with_context(|| format!("interface glob \"{glob}\" cannot be read"))
    });
    patterns.collect()
}

/// What happened to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there.
    Added(Link),
    /// It is gone, as it was last seen.
    Removed(Link),
    /// It has another name, role or state.
    Changed {
        /// As it was.
        before: Link,
        /// As it is.
        after: Link,
    },
}

/// The interfaces of one network namespace, but the loopback, kept up to date.
///
/// The news only says that something changed: what there is, is then read whole, so lost or
/// doubled news does no harm. It belongs to the namespace of the thread that made it.
pub struct Watcher {
    choice: Choice,
    netlink: Netlink,
    news: News,
    default_routes: BTreeSet<u32>,
    links: BTreeMap<u32, Link>,
    moved: Moved,
}

/// Addresses whose routes changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Those of these routes.
    Within(Vec<Prefix>),
    /// Perhaps any: news was lost.
    Any,
}

impl Default for Moved {
    fn default() -> Self {
        Self::Within(Vec::new())
    }
}

impl Watcher {
    /// Reads what is there and subscribes to what changes.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn new(choice: Choice) -> Result<Self> {
        let routes = RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
        // First the subscription: what changes after it is in the news or in what is read.
        let news = News::subscribe(RTMGRP_LINK | routes)?;
        let mut watcher = Self {
            choice,
            netlink: Netlink::open()?,
            news,
            default_routes: BTreeSet::new(),
            links: BTreeMap::new(),
            moved: Moved::default(),
        };
        watcher.read_default_routes()?;
        watcher.links = watcher.read_links()?;
        Ok(watcher)
    }

    /// The interfaces as last seen, by index.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The globs that match no interface.
    pub fn unmatched_globs(&self) -> impl Iterator<Item = &str> {
        let globs = self.choice.pods.iter().chain(&self.choice.uplinks);
        let unmatched = globs.filter(|glob| !self.links().any(|link| glob.matches(&link.name)));
        unmatched.map(Pattern::as_str)
    }

    /// What changed since the last call, without waiting.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn poll(&mut self) -> Result<Vec<Change>> {
        let news = match self.news.read()? {
            Some(messages) => Summary::of(&messages),
            None => Summary { links: true, routes: true, moved: Moved::Any, ..Summary::default() },
        };
        match (&mut self.moved, news.moved) {
            (Moved::Within(known), Moved::Within(new)) => known.extend(new),
            (moved, Moved::Any) => *moved = Moved::Any,
            (Moved::Any, _) => {}
        }
        if !news.links && !news.routes {
            return Ok(Vec::new());
        }
        let mut links = self.read_links()?;
        // A route that goes with its interface is not told of (IPv4).
        let uplink_changed = || {
            let uplinks = self.links.values().filter(|link| link.role == Role::Uplink);
            uplinks.into_iter().any(|link| links.get(&link.index) != Some(link))
        };
        if self.choice.follows_routes() && (news.routes || uplink_changed()) {
            self.read_default_routes()?;
            for link in links.values_mut() {
                link.role = self.choice.role(&link.name, link.index, &self.default_routes);
            }
        }
        let changes = difference(&self.links, &links, &news.removed);
        self.links = links;
        Ok(changes)
    }

    /// Waits for news, at most for `timeout`, and says what changed; news may turn out to be none.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Change>> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.news.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => self.poll(),
            Err(error) => Err(error).context("wait for netlink's news"),
        }
    }

    /// How `to` is reached; `None` without a route.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn way(&mut self, to: IpAddr) -> Result<Option<Way>> {
        self.netlink.way(to)
    }

    /// The addresses whose routes changed since the last call, as far as [`Watcher::poll`] has
    /// heard.
    pub fn take_moved(&mut self) -> Moved {
        std::mem::take(&mut self.moved)
    }

    fn read_default_routes(&mut self) -> Result<()> {
        if self.choice.follows_routes() {
            self.default_routes = self.netlink.default_route_interfaces()?;
        }
        Ok(())
    }

    fn read_links(&mut self) -> Result<BTreeMap<u32, Link>> {
        let messages = self.netlink.links()?;
        let links = messages.iter().filter_map(|message| {
            let role = |name: &str, index| self.choice.role(name, index, &self.default_routes);
            Link::read(message, role).map(|link| (link.index, link))
        });
        Ok(links.collect())
    }
}

impl AsFd for Watcher {
    /// Readable when [`Watcher::poll`] has something to read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

/// What news is about.
#[derive(Default)]
struct Summary {
    links: bool,
    routes: bool,
    moved: Moved,
    /// Interfaces that went; an index may be in use again.
    removed: BTreeSet<u32>,
}

impl Summary {
    fn of(messages: &[RouteNetlinkMessage]) -> Self {
        let mut summary = Self::default();
        let mut prefixes = Vec::new();
        for message in messages {
            match message {
                RouteNetlinkMessage::NewLink(_) => summary.links = true,
                RouteNetlinkMessage::DelLink(link) => {
                    summary.links = true;
                    // A bridge tells of a port that leaves in the same words, as its own family.
                    if link.header.interface_family == AddressFamily::Unspec {
                        summary.removed.insert(link.header.index);
                    }
                }
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                    summary.routes |= is_default_route(route);
                    prefixes.extend(Prefix::of(route));
                }
                _ => {}
            }
        }
        summary.moved = Moved::Within(prefixes);
        summary
    }
}

/// What leads from one set to the other: what goes first, then what changes and what comes.
fn difference(
    before: &BTreeMap<u32, Link>,
    after: &BTreeMap<u32, Link>,
    removed: &BTreeSet<u32>,
) -> Vec<Change> {
    let stays = |link: &Link| after.contains_key(&link.index) && !removed.contains(&link.index);
    let gone = before.values().filter(|link| !stays(link)).cloned().map(Change::Removed);
    let come = after.values().filter_map(|link| {
        let known = before.get(&link.index).filter(|link| stays(link));
        match known {
            Some(known) if known == link => None,
            Some(known) => Some(Change::Changed { before: known.clone(), after: link.clone() }),
            None => Some(Change::Added(link.clone())),
        }
    });
    gone.chain(come).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(pods: &[&str], uplinks: &[&str]) -> Choice {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        Choice::new(&owned(pods), &owned(uplinks)).unwrap()
    }

    fn set(links: &[(u32, &str)]) -> BTreeMap<u32, Link> {
        let link = |&(index, name): &(u32, &str)| {
            (index, Link { index, name: name.to_owned(), ..Link::default() })
        };
        links.iter().map(link).collect()
    }

    #[test]
    fn globs_tell_roles_and_an_uplink_is_no_pods() {
        let choice = choice(&["veth*", "cali?", "lxc[0-9]*"], &["eth*", "veth-up"]);
        let role = |name| choice.role(name, 1, &BTreeSet::new());

        assert_eq!(role("veth0"), Role::Pod);
        assert_eq!(role("cali1"), Role::Pod);
        assert_eq!(role("cali12"), Role::Other);
        assert_eq!(role("lxc7abc"), Role::Pod);
        assert_eq!(role("lxc_host"), Role::Other);
        assert_eq!(role("veth-up"), Role::Uplink);
        assert_eq!(role("eth0"), Role::Uplink);
        assert_eq!(role("docker0"), Role::Other);
    }

    #[test]
    fn without_uplink_globs_the_default_routes_tell() {
        let choice = choice(&["veth*"], &[]);
        let routes = BTreeSet::from([2]);

        assert!(choice.follows_routes());
        assert_eq!(choice.role("veth1", 2, &routes), Role::Uplink);
        assert_eq!(choice.role("veth1", 3, &routes), Role::Pod);
    }

    #[test]
    fn a_glob_that_cannot_be_read_is_named() {
        let error = Choice::new(&["veth[".to_owned()], &[]).unwrap_err();

        assert!(error.to_string().contains("\"veth[\""), "{error}");
    }

    #[test]
    fn changes_lead_from_one_set_to_the_other() {
        let before = set(&[(2, "eth0"), (3, "veth1"), (4, "veth2")]);
        let after = set(&[(2, "eth0"), (4, "pod2"), (5, "veth3")]);

        let changes = difference(&before, &after, &BTreeSet::new());

        assert_eq!(
            changes,
            [
                Change::Removed(before[&3].clone()),
                Change::Changed { before: before[&4].clone(), after: after[&4].clone() },
                Change::Added(after[&5].clone()),
            ]
        );
        assert_eq!(difference(&after, &after, &BTreeSet::new()), []);
    }

    #[test]
    fn an_index_in_use_again_is_another_interface() {
        let links = set(&[(3, "veth1")]);

        let changes = difference(&links, &links, &BTreeSet::from([3]));

        let link = links[&3].clone();
        assert_eq!(changes, [Change::Removed(link.clone()), Change::Added(link)]);
    }

    #[test]
    fn the_loopback_is_there_and_left_out() {
        let mut netlink = Netlink::open().unwrap();
        let loopback = netlink.links().unwrap();
        assert!(loopback.iter().any(|link| link.header.index == 1));

        let watcher = Watcher::new(choice(&["no-such*"], &[])).unwrap();

        assert!(watcher.links().all(|link| link.name != "lo"));
        assert_eq!(watcher.unmatched_globs().collect::<Vec<_>>(), ["no-such*"]);
    }
}
