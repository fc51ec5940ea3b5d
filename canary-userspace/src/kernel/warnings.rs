//! What people should know of the datapath itself.

use std::path::Path;

use super::sweep::Fill;
use super::{Kernel, node};
use crate::compile::Warning;

/// Percent of the places of the flow table in use from which people are told.
const NEARLY_FULL: u64 = 80;

impl Kernel {
    /// Everything that people should know.
    pub(super) fn all_warnings(&self) -> Vec<Warning> {
        let mut warnings = self.attachments.warnings();
        warnings.extend_from_slice(self.locality.warnings());
        warnings.extend(self.namespaces.warnings());
        warnings.extend(self.locals.warning());
        warnings.extend(nearly_full(&self.sweep.fill()));
        warnings.extend(self.attachments.crowded_now().iter().map(|name| is_crowded(name)));
        if let Some(brought) = &self.brought {
            warnings.push(Warning { service: String::new(), text: brought.to_string() });
        }
        if !Path::new(node::BTF).exists() {
            let text = format!(
                "{} is missing: what this kernel can do is not known in full, and the oldest way is \
                 taken; use one built with CONFIG_DEBUG_INFO_BTF=y",
                node::BTF
            );
            warnings.push(Warning { service: String::new(), text });
        }
        warnings
    }
}

/// Says that the flow table is nearly full, if it is.
fn nearly_full(fill: &Fill) -> Option<Warning> {
    let percent = fill.percent();
    (percent >= NEARLY_FULL).then(|| Warning {
        service: String::new(),
        text: format!(
            "FLOWS is {percent} % full with {} connections: what has ended, then what is half \
             open goes first, and from 100 % new ones are refused; raise `limits.flows`, stop \
             the agent, run `canaryctl detach` and start it anew",
            fill.connections
        ),
    })
}

/// Says that an interface gets no more of the flow table.
fn is_crowded(interface: &str) -> Warning {
    let text = format!(
        "interface {interface} holds half of FLOWS with connections that are alive: its new ones \
         are refused until some of them end"
    );
    Warning { service: String::new(), text }
}
