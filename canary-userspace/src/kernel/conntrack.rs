//! Flows that somebody else, kube-proxy say, translated before us: they stay theirs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use canary_common::endpoint::Endpoint;
use canary_common::flow::{Family, FlowKey, V4, V6};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::load::take;
use super::netlink::Netlink;
use super::node;
use crate::compile::endpoint;
use crate::plan::Write;

/// The tables of flows that are not ours.
pub struct Foreign {
    v4: HashMap<MapData, FlowKey<[u8; 4]>, u32>,
    v6: HashMap<MapData, FlowKey<[u8; 16]>, u32>,
    hertz: u64,
}

impl Foreign {
    /// Takes the tables out of the object.
    ///
    /// # Errors
    ///
    /// If one is missing or of another shape.
    pub fn take(ebpf: &mut Ebpf, hertz: u64) -> Result<Self> {
        Ok(Self {
            v4: HashMap::try_from(take(ebpf, "FOREIGN4")?).context("FOREIGN4")?,
            v6: HashMap::try_from(take(ebpf, "FOREIGN6")?).context("FOREIGN6")?,
            hertz,
        })
    }

    /// Leaves to conntrack the flows it has to the frontends that a plan makes known.
    ///
    /// Their packets still bear the frontend's address when they pass netfilter, which ours do
    /// not: what conntrack knows by that address is never ours.
    ///
    /// # Errors
    ///
    /// If conntrack cannot be read.
    pub fn note(&mut self, writes: &[Write]) -> Result<()> {
        let frontends: BTreeMap<Endpoint, (u32, u16)> = writes
            .iter()
            .filter_map(|write| match write {
                Write::Frontend { id, endpoint, generation, .. } => {
                    Some((*endpoint, (*id, *generation)))
                }
                _ => None,
            })
            .collect();
        if frontends.is_empty() {
            return Ok(());
        }
        let now = node::now(self.hertz)?;
        for (client, frontend) in flows()? {
            let Some(&(peer, generation)) = frontends.get(&frontend) else { continue };
            let port = client.port;
            // A table that is full loses its least recently used, as for any flow.
            if client.address.as_v4().is_some() {
                let key = FlowKey { client: V4::bytes(client.address), peer, port, generation };
                self.v4.insert(key, now, 0).context("insert into FOREIGN4")?;
            } else {
                let key = FlowKey { client: V6::bytes(client.address), peer, port, generation };
                self.v6.insert(key, now, 0).context("insert into FOREIGN6")?;
            }
        }
        Ok(())
    }
}

/// Every flow of conntrack in its original direction: from and to.
fn flows() -> Result<Vec<(Endpoint, Endpoint)>> {
    let mut netlink = Netlink::open_protocol(NETLINK_NETFILTER)?;
    let mut flows = Vec::new();
    for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6] {
        let question = NetfilterMessage::new(
            NetfilterHeader::new(family, 0, 0),
            ConntrackMessage::Get(Vec::new()),
        );
        let answers: Vec<NetfilterMessage> = match netlink.dump(&question) {
            Ok(answers) => answers,
            Err(error) => {
                // A kernel without conntrack has no such flows.
                tracing::info!("conntrack cannot be read, so nothing is left to it: {error:#}");
                return Ok(flows);
            }
        };
        flows.extend(answers.iter().filter_map(original));
    }
    Ok(flows)
}

fn original(message: &NetfilterMessage) -> Option<(Endpoint, Endpoint)> {
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = &message.inner else {
        return None;
    };
    let tuples = attributes.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(tuples) => Some(tuples),
        _ => None,
    })?;
    let (mut addresses, mut ports) = ([None::<IpAddr>; 2], [None::<u16>; 2]);
    let [source, destination] = &mut addresses;
    let [from, to] = &mut ports;
    let mut protocol = None;
    for tuple in tuples {
        match tuple {
            Tuple::Ip(ends) => ends.iter().for_each(|part| match part {
                IPTuple::SourceAddress(address) => *source = Some(*address),
                IPTuple::DestinationAddress(address) => *destination = Some(*address),
                _ => {}
            }),
            Tuple::Proto(ends) => ends.iter().for_each(|part| match part {
                ProtoTuple::Protocol(number) => protocol = Some(u8::from(*number)),
                ProtoTuple::SourcePort(port) => *from = Some(*port),
                ProtoTuple::DestinationPort(port) => *to = Some(*port),
                _ => {}
            }),
            _ => {}
        }
    }
    let at =
        |address: Option<IpAddr>, port: Option<u16>| Some(endpoint(address?, port?, protocol?));
    Some((at(*source, *from)?, at(*destination, *to)?))
}
