//! The whole logic in one function, as hosts run it.

use crate::addresses;
use crate::directory::Occupant;
use crate::forward::{of_flow, of_forward, of_none};
use crate::hooks::is_ours;
use crate::node::Node;
use crate::reason::Reason;
use crate::relay::{self, Relay};
use crate::route::{Decision, Origin};
use crate::segment::Segment;
use crate::service::Picked;
use crate::start::{Begun, store, store_both, trace};
use crate::tables::Tables;
use crate::tunnel::{self, Outer, arrive};

/// What the whole logic decides of a segment.
#[derive(Clone, Copy)]
pub(crate) enum Decided {
    /// The node's own stack sends it on, or it goes back.
    Here(Decision),
    /// It is sent on to a backend elsewhere.
    Forth(Relay),
    /// It is sent on to a client outside.
    Back(Relay),
    /// It is sent on to a backend elsewhere within another packet.
    Within(Outer),
}

/// Decides what becomes of a packet towards a frontend, and stores what begins with it.
///
/// In the kernel, the steps are functions of their own.
///
/// # Errors
///
/// The [`Reason`] why it is not forwarded.
#[inline(always)]
pub(crate) fn decide<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
    bits: u64,
) -> Result<Decided, Reason> {
    if bits & addresses::NODE != 0
        && let Some(answer) = relay::answer(node, segment)?
    {
        return Ok(Decided::Back(answer));
    }
    is_ours(node.tables, segment, bits)?;
    match of_flow(node, segment, origin, bits)? {
        Some(Decision::Forward(route)) if route.wrapped => {
            let mut outer = Outer::NONE;
            tunnel::forth(node, segment, origin, &mut outer)?;
            return Ok(Decided::Within(outer));
        }
        Some(Decision::Forward(route)) if route.masked => {
            return relay::forth(node, segment, origin).map(Decided::Forth);
        }
        Some(decision) => return Ok(Decided::Here(decision)),
        None => {}
    }
    let beginning = of_none(node, segment, origin)?;
    match beginning.begun {
        Begun::Passes => Ok(Decided::Here(Decision::Forward(beginning.as_it_is()))),
        Begun::Flow if beginning.is_wrapped() => {
            let back = tunnel::back(node, segment, &beginning);
            store_both(node, segment, &beginning, &back)?;
            let mut outer = Outer::NONE;
            tunnel::around(node, beginning.to.address, &mut outer)?;
            Ok(Decided::Within(outer))
        }
        Begun::Flow if beginning.is_masked() => {
            relay::store(node, segment, &beginning).map(Decided::Forth)
        }
        Begun::Flow => store(node, segment, origin, &beginning)
            .map(|route| Decided::Here(Decision::Forward(route))),
        Begun::Trace => {
            let request = trace(node, segment, &beginning);
            node.tables.store_flow(&request, node.settings.flows());
            Err(Reason::Straight)
        }
    }
}

/// The same of a segment that came within a packet of another node, for the backend that was picked.
///
/// # Errors
///
/// The [`Reason`] why it is not forwarded.
#[inline(always)]
pub(crate) fn decide_arrived<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    picked: Option<Picked>,
) -> Result<Decided, Reason> {
    match of_forward(node, segment, Origin::Net, addresses::FRONTEND)? {
        // It would go from node to node.
        Some(Decision::Forward(route)) if route.masked => return Err(Reason::FlowLost),
        Some(decision) => return Ok(Decided::Here(decision)),
        None => {}
    }
    let (Some(Occupant::Frontend(id)), Some(picked)) = (node.find(segment.destination), picked)
    else {
        return Err(Reason::FlowLost);
    };
    let beginning = arrive::begin(node, segment, id, picked)?;
    if beginning.is_masked() {
        return Err(Reason::FlowLost);
    }
    let route = match beginning.begun {
        Begun::Passes | Begun::Trace => beginning.as_it_is(),
        Begun::Flow => store(node, segment, Origin::Net, &beginning)?,
    };
    Ok(Decided::Here(Decision::Forward(route)))
}
