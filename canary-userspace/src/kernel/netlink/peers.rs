//! Whose interfaces' other ends are in which network namespace.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_core::NLM_F_REQUEST;

use super::Netlink;

impl Netlink {
    /// Indices of the interfaces of another network namespace whose other ends are interfaces of
    /// this socket's own.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn peers_in(&mut self, other: BorrowedFd<'_>) -> Result<BTreeSet<u32>> {
        // Listing the links gives namespaces their numbers, so it comes first.
        let links = self.links()?;
        let Some(number) = self.number_of(other)? else { return Ok(BTreeSet::new()) };
        Ok(links.iter().filter_map(|link| peer(link, number)).collect())
    }

    /// The number by which this socket's namespace knows another one, if it does.
    fn number_of(&mut self, other: BorrowedFd<'_>) -> Result<Option<i32>> {
        let mut question = NsidMessage::default();
        let file = u32::try_from(other.as_raw_fd()).context("a descriptor is negative")?;
        question.attributes.push(NsidAttribute::Fd(file));
        let question = RouteNetlinkMessage::GetNsId(question);
        let answers = self.ask(&question, NLM_F_REQUEST).context("ask for a namespace's number")?;
        let numbers = answers.messages.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewNsId(message) => Some(&message.attributes),
            _ => None,
        });
        let number = numbers.flatten().find_map(|attribute| match attribute {
            NsidAttribute::Id(number) => Some(*number),
            _ => None,
        });
        // -1 is none.
        Ok(number.filter(|number| *number >= 0))
    }
}

/// Index of a link's other end, if that is in the namespace of this number.
fn peer(link: &LinkMessage, number: i32) -> Option<u32> {
    let is_there = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkNetNsId(of) if *of == number);
    if !link.attributes.iter().any(is_there) {
        return None;
    }
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_other_end_counts_in_its_own_namespace_alone() {
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::Link(57)];
        assert_eq!(peer(&link, 0), None, "both ends are in one namespace");

        link.attributes.push(LinkAttribute::LinkNetNsId(3));

        assert_eq!(peer(&link, 3), Some(57));
        assert_eq!(peer(&link, 0), None);
    }
}
