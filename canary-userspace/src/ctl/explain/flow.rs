//! One flow: its hash, the split and the slot that it draws, and the backend.

use crate::ctl::paint::Paint;
use crate::document::explain::Target;
use crate::document::flow::ExplainFlow;

use super::chain::name;

/// The flow from its ends to its backend.
pub(super) fn lines(flow: &ExplainFlow, paint: Paint) -> Vec<String> {
    let hashed = match flow.affinity.as_str() {
        "source_ip" => "the client's address",
        _ => "the client's address and port",
    };
    let mut lines = vec![
        format!(
            "{} -> {}/{}  {}",
            flow.client,
            flow.frontend,
            flow.protocol,
            paint.bold(&flow.service)
        ),
        format!("  hash {} of {hashed}, at {:.4} %", flow.hash, flow.position),
    ];
    let names: Vec<_> = flow
        .splits
        .iter()
        .map(|split| {
            let target = Target { service: split.service.clone(), subset: split.subset.clone() };
            name(&flow.service, &target)
        })
        .collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    for (split, name) in flow.splits.iter().zip(&names) {
        let mark = if split.drawn { "=>" } else { "  " };
        let line = format!("  {mark} {name:<width$}  {:>8.4} % to {:>8.4} %", split.from, split.to);
        lines.push(if split.drawn { paint.bold(line) } else { line });
    }
    let slot = match flow.slot {
        Some(slot) => format!("slot {} of {}", slot.index, slot.of),
        None if flow.backend.is_some() => "one backend, no slots".to_owned(),
        None => "no healthy backend".to_owned(),
    };
    let gets = match &flow.backend {
        Some(backend) => paint.green(backend),
        None => paint.red("refused"),
    };
    lines.push(format!("  {slot} -> {gets}"));
    lines.push(match &flow.known {
        None => "  not known yet: a new flow gets that".to_owned(),
        Some(known) => {
            let target = Target { service: known.service.clone(), subset: known.subset.clone() };
            let backend = known.backend.as_deref().unwrap_or("a backend that is gone");
            let text = format!(
                "  known already, {}: it stays with {} at {backend} (idle for {} s)",
                known.state,
                name(&flow.service, &target),
                known.idle_seconds
            );
            paint.yellow(text)
        }
    });
    lines
}
